import RuntimeModel

/// Where a request may mount something.
enum MountDestination {
  /// Files of procfs that show the machine, and that a container may be shown others for, as lxcfs does; runc's list.
  /// The shim has the same (ShimCore/MountTarget.swift), and looks at what is really there.
  private static let replaceable: Set<String> = [
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
    "/proc/loadavg", "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
  ]

  /// - Parameters:
  ///   - path: as the request has it.
  ///   - field: what the request calls it.
  /// - Returns: the clean path.
  /// - Throws: `invalidArgument` naming the field.
  static func check(_ path: String, field: String) throws(RuntimeError) -> String {
    guard !path.isEmpty else { throw RuntimeError(.invalidArgument, "\(field) is empty") }
    guard path.hasPrefix("/"), !path.utf8.contains(0) else {
      throw RuntimeError(.invalidArgument, "\(field): \"\(path)\" is not absolute or has a NUL byte")
    }
    let clean = MountPlan.cleaned(path)
    guard clean != "/" else { throw RuntimeError(.invalidArgument, "\(field): nothing can be mounted over /") }
    guard clean != "/proc", !clean.isBelow("/proc") || replaceable.contains(clean) else {
      throw RuntimeError(.invalidArgument, "\(field): \"\(path)\": nothing can be mounted inside /proc")
    }
    return clean
  }
}
