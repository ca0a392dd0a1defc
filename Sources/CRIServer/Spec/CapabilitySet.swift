import CRIProtocol
import RuntimeModel

/// Linux capabilities as a mask, bit n for capability n (capabilities(7), linux/capability.h).
struct CapabilitySet: Sendable, Hashable {
  var mask: UInt64

  static let none = CapabilitySet(mask: 0)

  /// What a container has when nothing is asked: containerd's fourteen, so that images find what they know.
  static let standard = CapabilitySet(
    named: [
      "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
      "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    ])

  /// By number: the position is the bit.
  static let names = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
  ]

  init(mask: UInt64) { self.mask = mask }

  private init(named names: [String]) {
    mask = names.reduce(0) { $0 | (Self.bit($1) ?? 0) }
  }

  /// What a container gets: the standard set, or everything or nothing by `ALL`, then single adds, then single drops.
  ///
  /// - Parameters:
  ///   - request: the CRI's Capability.
  ///   - available: what the daemon itself may give (its bounding set); asking for more by name is an error, `ALL` and
  ///     the standard set are cut down to it.
  /// - Throws: `invalidArgument` naming an unknown capability, `failedPrecondition` naming one the node lacks.
  init(_ request: Runtime_V1_Capability, available: CapabilitySet) throws(RuntimeError) {
    let adds = request.addCapabilities.map(Self.normalized)
    let drops = request.dropCapabilities.map(Self.normalized)
    var mask = Self.standard.mask
    if adds.contains("ALL") { mask = available.mask }
    if drops.contains("ALL") { mask = 0 }
    mask &= available.mask
    for name in adds where name != "ALL" {
      let bit = try Self.known(name, field: "add_capabilities")
      guard available.mask & bit != 0 else {
        throw RuntimeError(
          .failedPrecondition, "linux.security_context.capabilities.add_capabilities: this node cannot give \(name)")
      }
      mask |= bit
    }
    for name in drops where name != "ALL" { mask &= ~(try Self.known(name, field: "drop_capabilities")) }
    self.mask = mask
  }

  func contains(_ name: String) -> Bool { Self.bit(name).map { mask & $0 != 0 } ?? false }

  private static func normalized(_ name: String) -> String {
    let upper = name.uppercased()
    return upper.hasPrefix("CAP_") ? String(upper.dropFirst(4)) : upper
  }

  private static func bit(_ name: String) -> UInt64? {
    names.firstIndex(of: name).map { 1 << UInt64($0) }
  }

  private static func known(_ name: String, field: String) throws(RuntimeError) -> UInt64 {
    guard let bit = bit(name) else {
      throw RuntimeError(
        .invalidArgument, "linux.security_context.capabilities.\(field): unknown capability \"\(name)\"")
    }
    return bit
  }
}
