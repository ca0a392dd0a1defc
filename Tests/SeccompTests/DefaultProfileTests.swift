import CSeccomp
import Glibc
import Testing

@testable import Seccomp

private let eperm = Simulation.Action.errno(1)
private let enosys = Simulation.Action.errno(38)

@Suite(.enabled(if: seccomp_arch_native() == cseccomp_architecture_x86_64(), "the numbers are x86-64's"))
struct DefaultProfileTests {
  let plain: Simulation
  let admin: Simulation

  init() throws {
    let compiler = SeccompCompiler()
    plain = Simulation(program: try compiler.compile(.runtimeDefault(capabilities: 0)))
    admin = Simulation(program: try compiler.compile(.runtimeDefault(capabilities: 1 << 21)))
  }

  @Test(arguments: Machine.allCases)
  func `every listed call is allowed where the machine has it`(machine: Machine) throws {
    for name in DefaultProfile.allowed {
      guard let number = machine.number(name) else { continue }
      #expect(plain.decide(number, machine.auditToken) == .allow, "\(name) on \(machine)")
    }
  }

  @Test(arguments: Machine.allCases)
  func `every other call that the library knows is refused`(machine: Machine) throws {
    let conditional: Set = ["clone", "clone3", "socket", "personality", "socketcall"]
    let allowed = Set(DefaultProfile.allowed)
    var refused = 0
    let base: UInt32 = machine == .x32 ? 0x4000_0000 : 0
    for number in 0..<UInt32(451) {
      guard let raw = seccomp_syscall_resolve_num_arch(machine.token, Int32(bitPattern: base | number)) else {
        continue
      }
      let name = String(cString: raw)
      free(raw)
      if conditional.contains(name) || allowed.contains(name) { continue }
      #expect(plain.decide(base | number, machine.auditToken) == eperm, "\(name) on \(machine)")
      refused += 1
    }
    #expect(refused > 50)
  }

  @Test(
    arguments: [
      "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "bpf", "keyctl", "add_key", "request_key",
      "perf_event_open", "mount", "umount2", "unshare", "setns", "init_module", "kexec_load", "reboot", "swapon",
      "open_by_handle_at", "process_vm_writev", "settimeofday", "fsopen", "move_mount", "pivot_root", "chroot",
    ])
  func `what reaches the node is refused on every machine`(name: String) {
    for machine in Machine.allCases {
      guard let number = machine.number(name) else { continue }
      #expect(plain.decide(number, machine.auditToken) == eperm, "\(name) on \(machine)")
    }
  }

  @Test(arguments: Machine.allCases)
  func `sockets of AF_ALG, AF_VSOCK and AF_RXRPC are refused, whatever the upper half says`(machine: Machine) throws {
    let socket = try #require(machine.number("socket"))
    let token = machine.auditToken
    for family in 0..<UInt64(48) {
      let wanted: Simulation.Action = [33, 38, 40].contains(family) ? eperm : .allow
      #expect(plain.decide(socket, token, [family, 1, 0]) == wanted, "family \(family) on \(machine)")
      #expect(plain.decide(socket, token, [family | 1 << 32, 1, 0]) == wanted, "family \(family) with upper bits")
    }
    for family: UInt64 in [48, 64, 255, 0xffff_ffff] {
      #expect(plain.decide(socket, token, [family, 1, 0]) == eperm, "family \(family)")
    }
  }

  @Test func `32-bit x86 makes no socket through socketcall`() throws {
    let call = try #require(Machine.i386.number("socketcall"))
    #expect(plain.decide(call, Machine.i386.auditToken, [1]) == eperm)
    #expect(plain.decide(call, Machine.i386.auditToken, [2]) == .allow)
    #expect(admin.decide(call, Machine.i386.auditToken, [1]) == eperm)
    // Bit 31 and above of a 64-bit register are not a 32-bit program's to set; the low half is what counts.
    #expect(plain.decide(call, Machine.i386.auditToken, [1 | 1 << 32]) == eperm)
  }

  @Test(arguments: Machine.allCases)
  func `clone makes threads and processes but no namespaces`(machine: Machine) throws {
    let clone = try #require(machine.number("clone"))
    let token = machine.auditToken
    #expect(plain.decide(clone, token, [0x003d_0f00]) == .allow)
    #expect(plain.decide(clone, token, [17]) == .allow)
    for bit in [17, 25, 26, 27, 28, 29, 30] {
      #expect(plain.decide(clone, token, [17 | 1 << UInt64(bit)]) == eperm, "bit \(bit) on \(machine)")
      #expect(admin.decide(clone, token, [17 | 1 << UInt64(bit)]) == .allow)
    }
    let clone3 = try #require(machine.number("clone3"))
    #expect(plain.decide(clone3, token) == enosys)
    #expect(admin.decide(clone3, token) == .allow)
  }

  @Test func `personality takes five values`() throws {
    let call = try #require(Machine.x86_64.number("personality"))
    let token = Machine.x86_64.auditToken
    for value: UInt64 in [0, 8, 0x20000, 0x20008, 0xffff_ffff, 0xffff_ffff_ffff_ffff] {
      #expect(plain.decide(call, token, [value]) == .allow)
    }
    for value: UInt64 in [0x40000, 0x0400000, 1, 4] { #expect(plain.decide(call, token, [value]) == eperm) }
  }

  @Test func `calls younger than the library go by number, unknown ones are ENOSYS`() {
    for machine in Machine.allCases {
      let base: UInt32 = machine == .x32 ? 0x4000_0000 : 0
      for number: UInt32 in [451, 452, 456, 462, 466, 468] {
        #expect(plain.decide(base | number, machine.auditToken) == .allow, "\(number) on \(machine)")
      }
      for number: UInt32 in [457, 458, 467] {
        #expect(plain.decide(base | number, machine.auditToken) == eperm)
        #expect(admin.decide(base | number, machine.auditToken) == .allow)
      }
      for number: UInt32 in [459, 461, 470, 500, 511, 548, 1000, 0x3fff_ffff] {
        #expect(plain.decide(base | number, machine.auditToken) == enosys, "\(number) on \(machine)")
      }
    }
  }

  @Test func `a foreign architecture is killed`() {
    #expect(plain.decide(0, cseccomp_architecture_aarch64()) == .kill)
    #expect(plain.decide(0, 0) == .kill)
  }

  @Test func `each capability opens its group and no other`() throws {
    let compiler = SeccompCompiler()
    for capability in Capability.allCases {
      let simulation = Simulation(program: try compiler.compile(.runtimeDefault(capabilities: capability.bit)))
      for group in DefaultProfile.gated {
        for name in group.calls where !["clone", "clone3"].contains(name) {
          guard let number = Machine.x86_64.number(name) else { continue }
          let wanted: Simulation.Action = group.capabilities.contains(capability) ? .allow : eperm
          #expect(simulation.decide(number, Machine.x86_64.auditToken) == wanted, "\(name) with \(capability)")
        }
      }
    }
  }

  @Test func `a program is made once for each set of decisive capabilities`() throws {
    let compiler = SeccompCompiler()
    let clock = ContinuousClock()
    var program: SeccompProgram?
    let first = try clock.measure { program = try compiler.compile(.runtimeDefault(capabilities: 0xa804_25fb)) }
    var again: SeccompProgram?
    let second = try clock.measure { again = try compiler.compile(.runtimeDefault(capabilities: 0xa804_25fa)) }
    #expect(program == again)
    #expect((program?.instructionCount ?? 0) < 4096)
    print("compiled in \(first), found in \(second), \(program?.instructionCount ?? 0) instructions")
  }
}
