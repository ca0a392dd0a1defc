import CSeccomp

@testable import Seccomp

/// Runs a program as the kernel does (kernel/seccomp.c: classic BPF over `struct seccomp_data`).
struct Simulation {
  let program: SeccompProgram

  enum Action: Equatable {
    case allow, kill, killThread, log, trap
    case errno(UInt32)
    case trace(UInt32)
    case other(UInt32)
  }

  func decide(_ number: UInt32, _ architecture: UInt32, _ arguments: [UInt64] = []) -> Action {
    var data = [UInt8](repeating: 0, count: 64)
    func put(_ value: UInt64, _ offset: Int, _ count: Int) {
      for index in 0..<count { data[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    }
    put(UInt64(number), 0, 4)
    put(UInt64(architecture), 4, 4)
    for (index, argument) in arguments.enumerated() { put(argument, 16 + 8 * index, 8) }
    return action(run(data))
  }

  private func action(_ value: UInt32) -> Action {
    switch value & 0xffff_0000 {
    case 0x7fff_0000: .allow
    case 0x0005_0000: .errno(value & 0xffff)
    case 0x8000_0000: .kill
    case 0x7ffc_0000: .log
    case 0x7ff0_0000: .trace(value & 0xffff)
    case 0x0003_0000: .trap
    case 0x0000_0000: .killThread
    default: .other(value)
    }
  }

  private func run(_ data: [UInt8]) -> UInt32 {
    func word(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
    }
    let bytes = program.bytes
    var place = 0
    var accumulator: UInt32 = 0
    while place < bytes.count / 8 {
      let at = place * 8
      let code = UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8
      let operand = word(bytes, at + 4)
      func jump(_ condition: Bool) { place += Int(condition ? bytes[at + 2] : bytes[at + 3]) }
      switch code {
      case 0x20: accumulator = word(data, Int(operand))
      case 0x54: accumulator &= operand
      case 0x05: place += Int(operand)
      case 0x15: jump(accumulator == operand)
      case 0x25: jump(accumulator > operand)
      case 0x35: jump(accumulator >= operand)
      case 0x45: jump(accumulator & operand != 0)
      case 0x06: return operand
      default: return 0xdead_0000
      }
      place += 1
    }
    return 0xdead_0001
  }
}

/// The machines whose calls a program of this one judges.
enum Machine: String, CaseIterable {
  case x86_64, i386, x32

  var token: UInt32 {
    switch self {
    case .x86_64: cseccomp_architecture_x86_64()
    case .i386: cseccomp_architecture_x86()
    case .x32: cseccomp_architecture_x32()
    }
  }

  /// What the kernel shows a filter: x32 calls itself x86_64 and sets bit 30 of the number.
  var auditToken: UInt32 { self == .x32 ? cseccomp_architecture_x86_64() : token }

  func number(_ name: String) -> UInt32? {
    // The library has socketcall's pseudo number for it; the call itself is this one (Linux 4.3).
    if self == .i386, name == "socket" { return 359 }
    let number = seccomp_syscall_resolve_name_arch(token, name)
    return number >= 0 ? UInt32(number) : nil
  }
}
