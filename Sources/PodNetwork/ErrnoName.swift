internal import CNetlink

/// `EEXIST: File exists`, or the number where the C library has no name for it (strerrorname_np(3)).
func errnoName(_ number: Int32) -> String {
  guard let name = cnetlink_errno_name(number) else { return "errno \(number)" }
  return String(cString: name)
}
