internal import CSeccomp
internal import Glibc
internal import Synchronization

/// Makes programs of profiles, each distinct one once.
package final class SeccompCompiler: Sendable {
  /// Bytes of a Localhost profile's file; Docker's own, the longest in use, has 20 KB.
  package static let largestProfile = 1 << 20
  /// Programs kept, and bytes of the profiles that they were made of: a node has few distinct ones, and a lost one costs
  /// some milliseconds.
  private static let capacity = 64
  private static let textCapacity = 4 << 20

  private let programs = Mutex(Programs())
  /// Held while one is compiled, so that nobody else compiles the same; a known one is found without it.
  private let compiling = Mutex(())

  private struct Programs {
    var byProfile: [SeccompProfile: SeccompProgram] = [:]
    var text = 0

    mutating func insert(_ program: SeccompProgram, _ profile: SeccompProfile) {
      if byProfile.count >= capacity || text + profile.size > textCapacity {
        byProfile.removeAll()
        text = 0
      }
      byProfile[profile] = program
      text += profile.size
    }
  }

  package init() {}

  /// Programs in the cache.
  var count: Int { programs.withLock { $0.byProfile.count } }

  /// Compiles a profile, or finds it. A first time blocks its thread for some milliseconds.
  ///
  /// - Throws: what is wrong with a Localhost profile, and where in it; what libseccomp refused.
  package func compile(_ profile: SeccompProfile) throws(SeccompError) -> SeccompProgram {
    let profile = profile.decisive
    if let known = programs.withLock({ $0.byProfile[profile] }) { return known }
    return try compiling.withLock { (_) throws(SeccompError) in
      if let known = programs.withLock({ $0.byProfile[profile] }) { return known }
      let program: SeccompProgram
      switch profile {
      case .runtimeDefault(let capabilities): program = try Self.compileDefault(capabilities: capabilities)
      case .localhost(let json, let capabilities):
        program = try LocalhostProfile(parsing: json).compile(capabilities: capabilities)
      }
      programs.withLock { $0.insert(program, profile) }
      return program
    }
  }

  private static func compileDefault(capabilities: UInt64) throws(SeccompError) -> SeccompProgram {
    let filter = try Filter(default: cseccomp_errno_action(UInt16(EPERM)), architectures: try sisters())
    let allow = cseccomp_allow_action()
    var names = Set(DefaultProfile.allowed)
    for group in DefaultProfile.gated where group.capabilities.contains(where: { capabilities & $0.bit != 0 }) {
      names.formUnion(group.calls)
    }
    for name in names.sorted() { try filter.add(name, allow) }
    if !names.contains("clone") {
      try filter.add("clone", allow, [DefaultProfile.Masked(mask: DefaultProfile.namespaceFlags, value: 0).first])
      // Its flags are behind a pointer, so that no filter sees them; libc falls back to clone.
      try filter.add("clone3", cseccomp_errno_action(UInt16(ENOSYS)))
    }
    for family in DefaultProfile.socketFamilies { try filter.add("socket", allow, [family.first]) }
    for value in DefaultProfile.personalities {
      try filter.add("personality", allow, [DefaultProfile.Masked(mask: ~0, value: value).first])
    }
    let prologue = Prologue(capabilities: capabilities, architectures: filter.auditTokens)
    return try SeccompProgram(prologue.bytes + (try filter.export()), flags: 0)
  }

  /// The architectures whose programs this machine's kernel runs beside its own.
  private static func sisters() throws(SeccompError) -> [UInt32] {
    switch seccomp_arch_native() {
    case cseccomp_architecture_x86_64(): [cseccomp_architecture_x86(), cseccomp_architecture_x32()]
    case cseccomp_architecture_aarch64(): [cseccomp_architecture_arm()]
    case let other: throw .architecture(other)
    }
  }
}

extension SeccompProfile {
  /// Bytes that it takes in the cache beside its program.
  fileprivate var size: Int { if case .localhost(let json, _) = self { json.count } else { 0 } }

  /// Two profiles that lead to the same program are the same here.
  fileprivate var decisive: SeccompProfile {
    guard case .runtimeDefault(let capabilities) = self else { return self }
    return .runtimeDefault(capabilities: capabilities & Capability.decisive)
  }
}

extension DefaultProfile.Masked {
  /// As libseccomp's test of a call's first argument.
  fileprivate var first: scmp_arg_cmp {
    scmp_arg_cmp(arg: 0, op: SCMP_CMP_MASKED_EQ, datum_a: UInt64(mask), datum_b: UInt64(value))
  }
}
