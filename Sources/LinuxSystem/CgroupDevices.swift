internal import CLinux
internal import Glibc
internal import SystemPackage

/// Device nodes that a group's processes may use.
package struct DeviceRule: Sendable, Hashable {
  /// Kind of node.
  package enum Kind: String, Sendable {
    case character = "c"
    case block = "b"
  }

  /// What may be done with it.
  package struct Access: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let create = Access(rawValue: 1)
    package static let read = Access(rawValue: 2)
    package static let write = Access(rawValue: 4)
    package static let all: Access = [.create, .read, .write]

    /// CRI's form: some of the letters `rwm`, each at most once.
    package init?(_ text: String) {
      var access: Access = []
      for letter in text {
        let bit: Access? = letter == "r" ? .read : letter == "w" ? .write : letter == "m" ? .create : nil
        guard let bit, access.insert(bit).inserted else { return nil }
      }
      self = access
    }

    var letters: String {
      (contains(.read) ? "r" : "") + (contains(.write) ? "w" : "") + (contains(.create) ? "m" : "")
    }
  }

  package var kind: Kind
  /// nil: any.
  package var major: UInt32?
  package var minor: UInt32?
  package var access: Access

  package init(kind: Kind, major: UInt32?, minor: UInt32?, access: Access) {
    self.kind = kind
    self.major = major
    self.minor = minor
    self.access = access
  }

  /// What every container has (CRI.md 2.8): null, zero, full, random, urandom, tty, console, ptmx, pts; and any node
  /// may be made, though not opened.
  package static let defaults: [DeviceRule] =
    [DeviceRule(kind: .character, major: nil, minor: nil, access: .create)]
    + [DeviceRule(kind: .block, major: nil, minor: nil, access: .create)]
    + [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)].map {
      DeviceRule(kind: .character, major: $0.0, minor: $0.1, access: .all)
    }
    + [DeviceRule(kind: .character, major: 136, minor: nil, access: .all)]

  /// v1's line.
  var line: String {
    "\(kind.rawValue) \(major.map(String.init) ?? "*"):\(minor.map(String.init) ?? "*") \(access.letters)"
  }

  var filterRule: clinux_device_rule {
    clinux_device_rule(
      type: CChar(bitPattern: UInt8(ascii: kind == .character ? "c" : "b")), access: access.rawValue,
      major: major.map(Int64.init) ?? -1, minor: minor.map(Int64.init) ?? -1)
  }
}

extension Cgroup {
  /// Denies every device but those of the rules; for a group without processes and groups below it.
  ///
  /// v1 by `devices.deny` and `devices.allow`, v2 by a BPF program (hybrid: the v1 controller alone).
  /// - Parameters:
  ///   - rules: what is allowed, ``DeviceRule/defaults`` included by the caller.
  ///   - privileged: all devices are allowed; `rules` are not looked at.
  /// - Throws: what refused; ENOTSUP on a v1 node without the controller.
  package func applyDeviceRules(_ rules: [DeviceRule], privileged: Bool) throws(SystemCallError) {
    if hierarchy.kind == .unified {
      // A v2 group without a program allows all that the groups above it allow.
      if !privileged { try attachDeviceFilter(rules, to: unifiedDirectory ?? "") }
      return
    }
    guard let directory = directory(of: "devices") else {
      if privileged { return }
      throw SystemCallError(
        call: "limit", errno: .notSupported, subject: "cgroup \(path): the node has no devices controller")
    }
    if privileged { return try writeKernelFile("\(directory)/devices.allow", "a") }
    try writeKernelFile("\(directory)/devices.deny", "a")
    let path = "\(directory)/devices.allow"
    let file = try OwnedFD.open(path, flags: O_WRONLY)
    try file.withRawDescriptor { (raw) throws(SystemCallError) in
      // One write each: the kernel reads a single rule.
      for rule in rules where !rule.access.isEmpty { try writeAll(raw, Array(rule.line.utf8), subject: path) }
    }
  }

  /// Attaches the allow list to a v2 directory.
  func attachDeviceFilter(_ rules: [DeviceRule], to directory: String) throws(SystemCallError) {
    let program = try Self.deviceFilter(rules)
    try OwnedFD.open(directory, flags: O_RDONLY | O_DIRECTORY).withRawDescriptor { (raw) throws(SystemCallError) in
      _ = try checkedResult("bpf", "device filter of \(directory)") {
        clinux_device_filter_attach(raw, program, Int32(program.count))
      }
    }
  }

  static func deviceFilter(_ rules: [DeviceRule]) throws(SystemCallError) -> [clinux_bpf_instruction] {
    let rules = rules.filter { !$0.access.isEmpty }.map(\.filterRule)
    let capacity = rules.count * 9 + 8
    var program = [clinux_bpf_instruction](repeating: clinux_bpf_instruction(), count: capacity)
    let count = try checkedResult("build", "device filter") {
      clinux_device_filter_build(rules, Int32(rules.count), &program, Int32(capacity))
    }
    return Array(program.prefix(Int(count)))
  }
}
