import LinuxSystem
import ShimProtocol
import SystemPackage

extension Swiftlet_Shim_V1_StepFailure {
  /// What failed and why, in the words that users of runc and scripts know where a program cannot be run.
  var text: String {
    let why = SystemCallError.text(of: Errno(rawValue: errno))
    guard step == "exec" else { return "\([step, subject].filter { !$0.isEmpty }.joined(separator: " ")): \(why)" }
    if errno == Errno.noSuchFileOrDirectory.rawValue, !subject.utf8.contains(UInt8(ascii: "/")) {
      return "exec: \"\(subject)\": executable file not found in $PATH (ENOENT)"
    }
    return "exec: \"\(subject)\": \(why)"
  }
}
