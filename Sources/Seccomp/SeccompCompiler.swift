internal import CSeccomp
internal import Glibc
internal import Synchronization

/// Makes programs of profiles, each distinct one once.
package final class SeccompCompiler: Sendable {
  /// Programs kept; a node has few distinct profiles, and a lost one costs some milliseconds.
  private static let capacity = 64
  private let programs = Mutex<[SeccompProfile: SeccompProgram]>([:])

  package init() {}

  /// Compiles a profile, or finds it. A first time blocks its thread for some milliseconds.
  ///
  /// - Throws: ``SeccompError/unimplemented`` for a Localhost profile; what libseccomp refused.
  package func compile(_ profile: SeccompProfile) throws(SeccompError) -> SeccompProgram {
    guard case .runtimeDefault(let capabilities) = profile else { throw .unimplemented }
    let key = SeccompProfile.runtimeDefault(capabilities: capabilities & Capability.decisive)
    return try programs.withLock { (programs) throws(SeccompError) in
      if let program = programs[key] { return program }
      let program = try Self.compileDefault(capabilities: capabilities)
      if programs.count >= Self.capacity { programs.removeAll() }
      programs[key] = program
      return program
    }
  }

  private static func compileDefault(capabilities: UInt64) throws(SeccompError) -> SeccompProgram {
    let filter = try Filter()
    var names = Set(DefaultProfile.allowed)
    for group in DefaultProfile.gated where group.capabilities.contains(where: { capabilities & $0.bit != 0 }) {
      names.formUnion(group.calls)
    }
    for name in names.sorted() { try filter.allow(name) }
    if !names.contains("clone") {
      try filter.allow("clone", argument: 0, DefaultProfile.Masked(mask: DefaultProfile.namespaceFlags, value: 0))
      // Its flags are behind a pointer, so that no filter sees them; libc falls back to clone.
      try filter.refuse("clone3", ENOSYS)
    }
    for family in DefaultProfile.socketFamilies { try filter.allow("socket", argument: 0, family) }
    for value in DefaultProfile.personalities {
      try filter.allow("personality", argument: 0, DefaultProfile.Masked(mask: ~0, value: value))
    }
    let bytes = Prologue(capabilities: capabilities, architectures: filter.auditTokens).bytes + (try filter.export())
    guard bytes.count <= 4096 * 8 else { throw .tooLong(instructions: bytes.count / 8) }
    return SeccompProgram(bytes: bytes)
  }
}

/// libseccomp's object, while it is filled: everything is EPERM until it is allowed.
private struct Filter: ~Copyable {
  private let context: OpaquePointer
  /// AUDIT_ARCH_* of the architectures in it; x32 has x86_64's.
  let auditTokens: [UInt32]

  init() throws(SeccompError) {
    guard let raw = seccomp_init(cseccomp_errno_action(UInt16(EPERM))) else {
      throw .library(step: "init", errno: ENOMEM)
    }
    let context = OpaquePointer(raw)
    do throws(SeccompError) {
      auditTokens = try Self.prepare(raw)
    } catch {
      seccomp_release(raw)
      throw error
    }
    self.context = context
  }

  deinit { seccomp_release(UnsafeMutableRawPointer(context)) }

  func allow(_ name: String) throws(SeccompError) {
    try add(name, cseccomp_allow_action(), [])
  }

  func allow(_ name: String, argument: UInt32, _ test: DefaultProfile.Masked) throws(SeccompError) {
    let compare = scmp_arg_cmp(
      arg: argument, op: SCMP_CMP_MASKED_EQ, datum_a: UInt64(test.mask), datum_b: UInt64(test.value))
    try add(name, cseccomp_allow_action(), [compare])
  }

  func refuse(_ name: String, _ errno: Int32) throws(SeccompError) {
    try add(name, cseccomp_errno_action(UInt16(errno)), [])
  }

  /// The program, by a file in memory: libseccomp 2.5 writes it to a descriptor only.
  func export() throws(SeccompError) -> [UInt8] {
    let file = cseccomp_memory_file("seccomp")
    guard file >= 0 else { throw .library(step: "memfd_create", errno: -file) }
    defer { close(file) }
    try Self.check("export", seccomp_export_bpf(UnsafeMutableRawPointer(context), file))
    let size = Int(lseek(file, 0, SEEK_END))
    var got = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      got = pread(file, buffer.baseAddress, size, 0)
      count = max(0, got)
    }
    guard got == size, size > 0, size % 8 == 0 else { throw .library(step: "read the export", errno: EIO) }
    return bytes
  }

  private func add(_ name: String, _ action: UInt32, _ tests: [scmp_arg_cmp]) throws(SeccompError) {
    let number = seccomp_syscall_resolve_name(name)
    // Not in any of the library's tables: the call belongs to another architecture, or the library is older.
    if number == __NR_SCMP_ERROR { return }
    let context = UnsafeMutableRawPointer(context)
    try Self.check("rule for \(name)", seccomp_rule_add_array(context, action, number, UInt32(tests.count), tests))
  }

  private static func prepare(_ context: UnsafeMutableRawPointer) throws(SeccompError) -> [UInt32] {
    let native = seccomp_arch_native()
    let others: [UInt32]
    let tokens: [UInt32]
    switch native {
    case cseccomp_architecture_x86_64():
      others = [cseccomp_architecture_x86(), cseccomp_architecture_x32()]
      tokens = [native, cseccomp_architecture_x86()]
    case cseccomp_architecture_aarch64():
      others = [cseccomp_architecture_arm()]
      tokens = [native, cseccomp_architecture_arm()]
    default: throw .architecture(native)
    }
    for other in others { try check("architecture \(other)", seccomp_arch_add(context, other)) }
    try check("bad architecture", seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, cseccomp_kill_process_action()))
    // A binary tree: some 12 steps for a call instead of 200, also for the kernel's own walk when it loads the program.
    try check("optimise", seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2))
    return tokens
  }

  private static func check(_ step: String, _ result: Int32) throws(SeccompError) {
    if result != 0 { throw .library(step: step, errno: -result) }
  }
}
