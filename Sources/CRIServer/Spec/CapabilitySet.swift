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

  init(mask: UInt64) { self.mask = mask }

  private init(named names: [String]) {
    mask = names.reduce(0) { $0 | (CapabilityName.bit($1) ?? 0) }
  }

  func contains(_ name: String) -> Bool { CapabilityName.bit(name).map { mask & $0 != 0 } ?? false }
}

/// The capability sets of a process, of the CRI's Capability message.
///
/// The standard set, or everything or nothing by `ALL`, then single adds, then single drops. Nothing is inheritable or
/// ambient but what `add_ambient_capabilities` names, which is in the other sets too: an inheritable capability would be
/// gained by any file of the image that is marked for it (CVE-2022-29162).
struct ProcessCapabilities: Sendable, Hashable {
  /// Bounding, permitted and effective.
  var all: CapabilitySet
  /// Inheritable and ambient.
  var ambient: CapabilitySet

  /// - Parameters:
  ///   - available: what the daemon itself may give (its bounding set); asking for more by name is an error, `ALL` and
  ///     the standard set are cut down to it.
  ///   - isPrivileged: everything available instead; names are checked all the same.
  /// - Throws: `invalidArgument` naming an unknown capability, `failedPrecondition` naming one the node lacks.
  init(
    _ request: Runtime_V1_Capability, available: CapabilitySet, isPrivileged: Bool = false
  ) throws(RuntimeError) {
    let adds = try Self.mask(request.addCapabilities, field: "add_capabilities", available: available)
    let drops = try Self.mask(request.dropCapabilities, field: "drop_capabilities", available: nil)
    let ambients = try Self.mask(
      request.addAmbientCapabilities, field: "add_ambient_capabilities", available: available)
    var mask = CapabilitySet.standard.mask
    if adds.hasAll { mask = available.mask }
    if drops.hasAll { mask = 0 }
    mask &= available.mask
    mask = (mask | adds.single | ambients.single) & ~drops.single
    if isPrivileged { mask = available.mask }
    all = CapabilitySet(mask: mask)
    ambient = CapabilitySet(mask: ambients.hasAll ? mask : ambients.single & mask)
  }

  private static func mask(
    _ names: [String], field: String, available: CapabilitySet?
  ) throws(RuntimeError) -> (single: UInt64, hasAll: Bool) {
    var single: UInt64 = 0
    var hasAll = false
    for name in names {
      if CapabilityName.plain(name) == "ALL" {
        hasAll = true
        continue
      }
      let path = "linux.security_context.capabilities.\(field)"
      guard let bit = CapabilityName.bit(name) else {
        throw RuntimeError(.invalidArgument, "\(path): unknown capability \"\(name.prefix(64))\"")
      }
      guard available.map({ $0.mask & bit != 0 }) ?? true else {
        throw RuntimeError(.failedPrecondition, "\(path): this node cannot give \(name)")
      }
      single |= bit
    }
    return (single, hasAll)
  }
}
