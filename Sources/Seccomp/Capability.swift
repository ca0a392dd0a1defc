/// The capabilities that open a part of the default profile (capabilities(7)).
enum Capability: Int, CaseIterable {
  case dacReadSearch = 2
  case sysModule = 16
  case sysRawio = 17
  case sysChroot = 18
  case sysPtrace = 19
  case sysPacct = 20
  case sysAdmin = 21
  case sysBoot = 22
  case sysNice = 23
  case sysTime = 25
  case sysTtyConfig = 26
  case syslog = 34
  case perfmon = 38
  case bpf = 39

  var bit: UInt64 { 1 << UInt64(rawValue) }

  /// Two sets that differ in other bits get the same program.
  static let decisive: UInt64 = allCases.reduce(0) { $0 | $1.bit }
}
