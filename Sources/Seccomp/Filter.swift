internal import CSeccomp
internal import Glibc

/// libseccomp's object, while it is filled: what happens to a call that no rule is for, and the rules.
struct Filter: ~Copyable {
  private let context: OpaquePointer
  /// SCMP_ARCH_* of the architectures in it; calls of any other kill the process.
  let architectures: [UInt32]

  /// - Parameters:
  ///   - action: SCMP_ACT_* of every call without a rule.
  ///   - architectures: beside this machine's own.
  init(default action: UInt32, architectures others: [UInt32]) throws(SeccompError) {
    guard let raw = seccomp_init(action) else { throw .library(step: "init", errno: EINVAL) }
    do throws(SeccompError) {
      architectures = try Self.prepare(raw, others)
    } catch {
      seccomp_release(raw)
      throw error
    }
    context = OpaquePointer(raw)
  }

  deinit { seccomp_release(UnsafeMutableRawPointer(context)) }

  /// The AUDIT_ARCH_* that the kernel shows for the architectures; x32 has x86_64's.
  var auditTokens: [UInt32] { architectures.filter { $0 != cseccomp_architecture_x32() } }

  /// - Parameters:
  ///   - action: SCMP_ACT_*.
  ///   - tests: all of which must hold; of different arguments.
  func add(_ name: String, _ action: UInt32, _ tests: [scmp_arg_cmp] = []) throws(SeccompError) {
    let number = seccomp_syscall_resolve_name(name)
    // Not in any of the library's tables: the call belongs to another architecture, or the library is older.
    if number == __NR_SCMP_ERROR { return }
    let context = UnsafeMutableRawPointer(context)
    try Self.check("rule for \(name)", seccomp_rule_add_array(context, action, number, UInt32(tests.count), tests))
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

  private static func prepare(
    _ context: UnsafeMutableRawPointer, _ others: [UInt32]
  ) throws(SeccompError) -> [UInt32] {
    var architectures = [seccomp_arch_native()]
    for other in others where !architectures.contains(other) {
      try check("architecture \(String(other, radix: 16))", seccomp_arch_add(context, other))
      architectures.append(other)
    }
    try check("bad architecture", seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, cseccomp_kill_process_action()))
    // A binary tree: some 12 steps for a call instead of 200, also for the kernel's own walk when it loads the program.
    try check("optimise", seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2))
    return architectures
  }

  private static func check(_ step: String, _ result: Int32) throws(SeccompError) {
    if result != 0 { throw .library(step: step, errno: -result) }
  }
}
