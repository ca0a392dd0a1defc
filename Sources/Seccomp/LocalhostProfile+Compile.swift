internal import CSeccomp
internal import Glibc
internal import RuntimeModel

extension LocalhostProfile {
  /// Rules after every name has got one of its own; far more than 4096 instructions can hold.
  private static let mostRules = 16_384
  /// Of rules with tests of arguments: libseccomp's time grows with their square.
  private static let mostConditional = 1024

  /// One call's rule, as libseccomp takes it.
  private struct Resolved {
    var name: String
    var action: UInt32
    /// Each leads to a rule of its own; within one, all tests must hold.
    var alternatives: [[scmp_arg_cmp]]
    var place: String
  }

  /// - Parameters:
  ///   - capabilities: for `includes.caps` and `excludes.caps`.
  ///   - kernel: for `minKernel`.
  /// - Throws: ``SeccompError``.
  func compile(
    capabilities: UInt64, kernel: KernelVersion = .running
  ) throws(SeccompError) -> SeccompProgram {
    let standard = try ProfileAction(
      defaultAction, errno: try number(defaultErrnoRet, defaultErrno, "defaultErrno"), place: "defaultAction")
    let filter = try Filter(default: standard.libraryValue, architectures: try extraArchitectures())
    let rules = try resolved(capabilities, kernel, standard: standard)
    for rule in rules where rule.action != standard.libraryValue {
      for tests in rule.alternatives {
        do throws(SeccompError) {
          try filter.add(rule.name, rule.action, tests)
        } catch {
          throw .profile(place: rule.place, reason: "\(error)")
        }
      }
    }
    var bytes = try filter.export()
    if standard.isRestrictive, standard != .errno(UInt16(ENOSYS)) {
      // As runc does: a call that is younger than every call of the profile was not refused by its author, and C
      // libraries fall back when it is ENOSYS.
      let names = Set(rules.map(\.name))
      bytes = Prologue(unknownAbove: filter.architectures.compactMap { highest($0, names) }).bytes + bytes
    }
    return try SeccompProgram(bytes, flags: try filterFlags())
  }

  private func highest(_ architecture: UInt32, _ names: Set<String>) -> (token: UInt32, number: UInt32)? {
    // Shares x86_64's token; its numbers are left to the library.
    if architecture == cseccomp_architecture_x32() { return nil }
    let numbers = names.map { seccomp_syscall_resolve_name_arch(architecture, $0) }.filter { $0 >= 0 }
    return numbers.max().map { (architecture, UInt32($0)) }
  }

  // MARK: Rules

  private func resolved(
    _ capabilities: UInt64, _ kernel: KernelVersion, standard: ProfileAction
  ) throws(SeccompError) -> [Resolved] {
    var all: [Resolved] = []
    var conditional = 0
    for (index, rule) in syscalls.enumerated() {
      let place = "syscalls[\(index)]"
      let errno = try number(rule.errnoRet, rule.errno, "\(place).errno")
      let action = try ProfileAction(rule.action, errno: errno, place: "\(place).action")
      let alternatives = try Self.alternatives(rule.args, place: "\(place).args")
      guard try applies(rule, capabilities, kernel, place: place) else { continue }
      conditional += rule.args.isEmpty ? 0 : rule.names.count * alternatives.count
      guard all.count + rule.names.count <= Self.mostRules, conditional <= Self.mostConditional else {
        throw .profile(
          place: place, reason: "more than \(Self.mostRules) rules, or than \(Self.mostConditional) with arguments")
      }
      for name in rule.names {
        guard !name.utf8.contains(0) else { throw .profile(place: "\(place).names", reason: "has a zero byte") }
        all.append(Resolved(name: name, action: action.libraryValue, alternatives: alternatives, place: place))
      }
    }
    return all
  }

  /// As runc and Docker read them: tests of different arguments must all hold; as soon as one argument is tested twice,
  /// each test is a rule of its own.
  private static func alternatives(_ tests: [Argument], place: String) throws(SeccompError) -> [[scmp_arg_cmp]] {
    var compares: [scmp_arg_cmp] = []
    for (index, test) in tests.enumerated() {
      guard test.index < 6 else {
        throw .profile(place: "\(place)[\(index)].index", reason: "\(test.index) is not in 0...5")
      }
      guard let op = operators[test.op] else {
        throw .profile(place: "\(place)[\(index)].op", reason: "\"\(test.op.prefix(64))\" is not an operator")
      }
      compares.append(scmp_arg_cmp(arg: test.index, op: op, datum_a: test.value, datum_b: test.valueTwo))
    }
    let isDistinct = Set(compares.map(\.arg)).count == compares.count
    return isDistinct ? [compares] : compares.map { [$0] }
  }

  private static let operators: [String: scmp_compare] = [
    "SCMP_CMP_NE": SCMP_CMP_NE, "SCMP_CMP_LT": SCMP_CMP_LT, "SCMP_CMP_LE": SCMP_CMP_LE, "SCMP_CMP_EQ": SCMP_CMP_EQ,
    "SCMP_CMP_GE": SCMP_CMP_GE, "SCMP_CMP_GT": SCMP_CMP_GT, "SCMP_CMP_MASKED_EQ": SCMP_CMP_MASKED_EQ,
  ]

  private func applies(
    _ rule: Rule, _ capabilities: UInt64, _ kernel: KernelVersion, place: String
  ) throws(SeccompError) -> Bool {
    let includes = try Resolution(rule.includes, capabilities, kernel, place: "\(place).includes")
    let excludes = try Resolution(rule.excludes, capabilities, kernel, place: "\(place).excludes")
    return includes.all.allSatisfy { $0 } && !excludes.any.contains(true)
  }

  /// A condition's parts, judged.
  private struct Resolution {
    /// Each part of `includes` must hold: one of the architectures, every capability, the kernel.
    var all: [Bool] = []
    /// Each part of `excludes` is enough: one of the architectures, any capability, the kernel.
    var any: [Bool] = []

    init(
      _ condition: Condition, _ capabilities: UInt64, _ kernel: KernelVersion, place: String
    ) throws(SeccompError) {
      if !condition.arches.isEmpty {
        all.append(condition.arches.contains(Machine.goName))
        any.append(condition.arches.contains(Machine.goName))
      }
      for (index, name) in condition.caps.enumerated() {
        guard let bit = CapabilityName.bit(name) else {
          throw .profile(place: "\(place).caps[\(index)]", reason: "unknown capability \"\(name.prefix(64))\"")
        }
        all.append(capabilities & bit != 0)
        any.append(capabilities & bit != 0)
      }
      if let text = condition.minKernel, !text.isEmpty {
        guard let wanted = KernelVersion(text) else {
          throw .profile(place: "\(place).minKernel", reason: "\"\(text.prefix(64))\" is not a kernel version")
        }
        all.append(kernel >= wanted)
        any.append(kernel >= wanted)
      }
    }
  }

  // MARK: The rest

  private func number(
    _ number: UInt32?, _ name: String?, _ place: String
  ) throws(SeccompError) -> UInt32? {
    guard let name, !name.isEmpty else { return number }
    let found = (1...133).first { candidate in
      cseccomp_errno_name(candidate).map { String(cString: $0) == name } ?? false
    }
    guard let found, number == nil || number == UInt32(found) else {
      throw .profile(place: place, reason: "\"\(name.prefix(64))\" is no errno, or another one than \(place)Ret")
    }
    return UInt32(found)
  }

  private func extraArchitectures() throws(SeccompError) -> [UInt32] {
    var tokens: [UInt32] = []
    for (index, name) in architectures.enumerated() {
      tokens.append(try Self.token(name, place: "architectures[\(index)]"))
    }
    for (index, family) in archMap.enumerated() {
      let place = "archMap[\(index)]"
      let own = try Self.token(family.architecture, place: "\(place).architecture")
      for (number, name) in family.subArchitectures.enumerated() {
        let sub = try Self.token(name, place: "\(place).subArchitectures[\(number)]")
        if own == seccomp_arch_native() { tokens.append(sub) }
      }
    }
    return tokens
  }

  private static func token(_ name: String, place: String) throws(SeccompError) -> UInt32 {
    let prefix = "SCMP_ARCH_"
    let token = name.hasPrefix(prefix) ? seccomp_arch_resolve_name(name.dropFirst(prefix.count).lowercased()) : 0
    guard token != 0 else { throw .profile(place: place, reason: "\"\(name.prefix(64))\" is not an architecture") }
    return token
  }

  /// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
  private func filterFlags() throws(SeccompError) -> UInt32 {
    var bits: UInt32 = 0
    for (index, name) in flags.enumerated() {
      switch name {
      case "SECCOMP_FILTER_FLAG_TSYNC": bits |= 1
      case "SECCOMP_FILTER_FLAG_LOG": bits |= 1 << 1
      case "SECCOMP_FILTER_FLAG_SPEC_ALLOW": bits |= 1 << 2
      case "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
        throw .profile(place: "flags[\(index)]", reason: "\(name) is for notifications, which are not supported")
      default: throw .profile(place: "flags[\(index)]", reason: "\"\(name.prefix(64))\" is not a filter flag")
      }
    }
    return bits
  }
}

/// This machine as Go names it, in which profiles are written.
enum Machine {
  static var goName: String {
    switch seccomp_arch_native() {
    case cseccomp_architecture_x86_64(): "amd64"
    case cseccomp_architecture_aarch64(): "arm64"
    default: ""
    }
  }
}
