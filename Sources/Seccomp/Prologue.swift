internal import CSeccomp
internal import Glibc

/// What the program decides before libseccomp's part, because libseccomp cannot say it. Of RuntimeDefault:
///
/// - 32-bit x86's socketcall(SYS_SOCKET), whose family is behind a pointer, is EPERM; libseccomp would allow it along
///   with every rule for socket. C libraries of the last ten years call socket itself.
/// - Calls that are younger than the library's tables are decided by number, and ones that nobody knows yet are ENOSYS.
struct Prologue {
  private var code: [Instruction] = []

  /// `struct sock_filter` of linux/filter.h.
  private struct Instruction {
    var code: UInt16
    var ifTrue: UInt8 = 0
    var ifFalse: UInt8 = 0
    var operand: UInt32
  }

  /// Offsets in `struct seccomp_data` (linux/seccomp.h).
  private static let number: UInt32 = 0
  private static let architecture: UInt32 = 4
  /// The first argument's lower half on a little-endian machine; Swift has no big-endian Linux.
  private static let firstArgument: UInt32 = 16

  private static let socketcall: UInt32 = 102
  private static let socketcallSocket: UInt32 = 1
  private static let x32Bit: UInt32 = 0x4000_0000

  private static let load: UInt16 = 0x20  // BPF_LD | BPF_W | BPF_ABS
  private static let and: UInt16 = 0x54  // BPF_ALU | BPF_AND | BPF_K
  private static let ifEqual: UInt16 = 0x15  // BPF_JMP | BPF_JEQ | BPF_K
  private static let ifGreater: UInt16 = 0x25  // BPF_JMP | BPF_JGT | BPF_K
  private static let ifAtLeast: UInt16 = 0x35  // BPF_JMP | BPF_JGE | BPF_K
  private static let go: UInt16 = 0x05  // BPF_JMP | BPF_JA
  private static let answer: UInt16 = 0x06  // BPF_RET | BPF_K

  /// Places where a jump to the library's part is owed.
  private var owed: [Int] = []

  /// - Parameter architectures: AUDIT_ARCH_*; another is left to the library, which kills.
  init(capabilities: UInt64, architectures: [UInt32]) {
    put(Self.load, Self.architecture)
    for (index, token) in architectures.enumerated() {
      put(Self.ifEqual, token, ifTrue: UInt8(architectures.count - index))
    }
    goToLibrary()
    if architectures.contains(cseccomp_architecture_x86()) { refuseSocketcall() }
    decideByNumber(capabilities)
    payOwed()
  }

  /// For a profile of the node's: calls that are younger than every one that it names are ENOSYS.
  ///
  /// - Parameter limits: AUDIT_ARCH_* and the highest number that the profile names there. Numbers of x32 are left to
  ///   the library.
  init(unknownAbove limits: [(token: UInt32, number: UInt32)]) {
    for (token, number) in limits {
      put(Self.load, Self.architecture)
      put(Self.ifEqual, token, ifFalse: 5)
      put(Self.load, Self.number)
      put(Self.ifAtLeast, Self.x32Bit, ifTrue: 2)
      put(Self.ifGreater, number, ifFalse: 1)
      put(Self.answer, cseccomp_errno_action(UInt16(ENOSYS)))
      goToLibrary()
    }
    payOwed()
  }

  /// Little-endian, as the kernel reads it on the machines that we build for.
  var bytes: [UInt8] {
    code.flatMap { one -> [UInt8] in
      [
        UInt8(truncatingIfNeeded: one.code), UInt8(truncatingIfNeeded: one.code >> 8), one.ifTrue, one.ifFalse,
        UInt8(truncatingIfNeeded: one.operand), UInt8(truncatingIfNeeded: one.operand >> 8),
        UInt8(truncatingIfNeeded: one.operand >> 16), UInt8(truncatingIfNeeded: one.operand >> 24),
      ]
    }
  }

  private mutating func refuseSocketcall() {
    put(Self.load, Self.architecture)
    put(Self.ifEqual, cseccomp_architecture_x86(), ifFalse: 5)
    put(Self.load, Self.number)
    put(Self.ifEqual, Self.socketcall, ifFalse: 3)
    put(Self.load, Self.firstArgument)
    put(Self.ifEqual, Self.socketcallSocket, ifFalse: 1)
    put(Self.answer, cseccomp_errno_action(UInt16(EPERM)))
  }

  private mutating func decideByNumber(_ capabilities: UInt64) {
    put(Self.load, Self.number)
    put(Self.and, ~Self.x32Bit)
    put(Self.ifAtLeast, DefaultProfile.firstNumbered, ifTrue: 1)
    goToLibrary()
    put(Self.ifGreater, DefaultProfile.lastOfX32, ifTrue: 2)
    put(Self.ifAtLeast, DefaultProfile.firstOfX32, ifFalse: 1)
    goToLibrary()
    for (range, verdict) in DefaultProfile.numbered(capabilities: capabilities) {
      let action = verdict == .allow ? cseccomp_allow_action() : cseccomp_errno_action(UInt16(EPERM))
      put(Self.ifAtLeast, range.lowerBound, ifFalse: 2)
      put(Self.ifGreater, range.upperBound, ifTrue: 1)
      put(Self.answer, action)
    }
    put(Self.answer, cseccomp_errno_action(UInt16(ENOSYS)))
  }

  private mutating func goToLibrary() {
    owed.append(code.count)
    put(Self.go, 0)
  }

  private mutating func payOwed() {
    for place in owed { code[place].operand = UInt32(code.count - place - 1) }
  }

  private mutating func put(_ operation: UInt16, _ operand: UInt32, ifTrue: UInt8 = 0, ifFalse: UInt8 = 0) {
    code.append(Instruction(code: operation, ifTrue: ifTrue, ifFalse: ifFalse, operand: operand))
  }
}
