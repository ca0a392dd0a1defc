import CLinux
import Testing

@testable import LinuxSystem

struct DeviceRuleTests {
  @Test func `v1 lines`() {
    #expect(
      DeviceRule.defaults.map(\.line) == [
        "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm",
        "c 5:2 rwm", "c 136:* rwm",
      ])
  }

  @Test func `access is some of rwm`() {
    #expect(DeviceRule.Access("rwm") == .all)
    #expect(DeviceRule.Access("mr") == [.read, .create])
    #expect(DeviceRule.Access("") == [])
    #expect(DeviceRule.Access("rr") == nil)
    #expect(DeviceRule.Access("x") == nil)
  }

  /// A walk through the few instructions that the builder writes.
  private func allows(
    _ program: [clinux_bpf_instruction], type: UInt32, access: UInt32, major: UInt32, minor: UInt32
  ) -> Bool? {
    var registers = [UInt64](repeating: 0, count: 11)
    let context = [access << 16 | type, major, minor]
    var place = 0
    while place < program.count {
      let one = program[place]
      let destination = Int(one.registers & 0xf)
      let source = Int(one.registers >> 4)
      let immediate = UInt64(bitPattern: Int64(one.immediate))
      switch one.code {
      case 0x61: registers[destination] = UInt64(context[Int(one.offset) / 4])
      case 0xbf: registers[destination] = registers[source]
      case 0xb7: registers[destination] = immediate
      case 0x77: registers[destination] >>= immediate
      case 0x57: registers[destination] &= immediate
      case 0x55: if registers[destination] != immediate { place += Int(one.offset) }
      case 0x95: return registers[0] == 1
      default: return nil
      }
      place += 1
    }
    return nil
  }

  @Test func `the v2 program decides as the rules say`() throws {
    let rules =
      DeviceRule.defaults + [
        DeviceRule(kind: .block, major: 8, minor: 1, access: [.read]),
        DeviceRule(kind: .character, major: 10, minor: nil, access: []),
      ]
    let program = try Cgroup.deviceFilter(rules)
    for type in [UInt32(BPF_BLOCK), UInt32(BPF_CHARACTER)] {
      for access in UInt32(1)...7 {
        for (major, minor) in [(1, 3), (1, 4), (1, 11), (5, 2), (8, 1), (8, 2), (10, 1), (136, 0), (136, 99)]
          as [(UInt32, UInt32)]
        {
          let wanted = rules.contains { rule in
            (rule.kind == .block) == (type == BPF_BLOCK) && access & ~UInt32(rule.access.rawValue) == 0
              && (rule.major ?? major) == major && (rule.minor ?? minor) == minor && !rule.access.isEmpty
          }
          let found = allows(program, type: type, access: access, major: major, minor: minor)
          #expect(found == wanted, "type \(type) access \(access) \(major):\(minor)")
        }
      }
    }
    #expect(allows(try Cgroup.deviceFilter([]), type: 2, access: 2, major: 1, minor: 3) == false)
  }

  private let BPF_BLOCK = 1
  private let BPF_CHARACTER = 2
}
