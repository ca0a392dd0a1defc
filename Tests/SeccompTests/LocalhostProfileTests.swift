import CSeccomp
import Glibc
import Testing

@testable import Seccomp

private let native = Machine.x86_64

@Suite(.enabled(if: seccomp_arch_native() == cseccomp_architecture_x86_64(), "the numbers are x86-64's"))
struct LocalhostProfileTests {
  private static func program(_ json: String, capabilities: UInt64 = 0) throws -> SeccompProgram {
    try SeccompCompiler().compile(.localhost(json: Array(json.utf8), capabilities: capabilities))
  }

  /// What happens to a call, with the arguments given.
  private static func verdict(
    _ json: String, _ name: String, _ arguments: [UInt64] = [], on machine: Machine = native, capabilities: UInt64 = 0
  ) throws -> Simulation.Action {
    let number = try #require(machine.number(name), "\(name)")
    return Simulation(program: try program(json, capabilities: capabilities))
      .decide(number, machine.auditToken, arguments)
  }

  /// critest's two: everything goes but one call, and everything goes but chmod.
  @Test(arguments: ["sethostname", "chmod", "fchmod", "fchmodat"])
  func `one call is refused with EPERM`(name: String) throws {
    let json = #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["\#(name)"],"action":"SCMP_ACT_ERRNO"}]}"#
    #expect(try Self.verdict(json, name) == .errno(1))
    #expect(try Self.verdict(json, "getpid") == .allow)
    // Without `architectures` the machine's own is meant.
    #expect(try Self.verdict(json, "getpid", on: .i386) == .kill)
  }

  static let actions: [(String, Simulation.Action)] = [
    ("SCMP_ACT_KILL", .killThread), ("SCMP_ACT_KILL_THREAD", .killThread), ("SCMP_ACT_KILL_PROCESS", .kill),
    ("SCMP_ACT_TRAP", .trap), ("SCMP_ACT_ERRNO", .errno(1)), ("SCMP_ACT_TRACE", .trace(1)), ("SCMP_ACT_LOG", .log),
    ("SCMP_ACT_ALLOW", .allow),
  ]

  @Test(arguments: actions.indices)
  func `every action`(_ index: Int) throws {
    let (action, wanted) = Self.actions[index]
    let other = action == "SCMP_ACT_ALLOW" ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW"
    let rule = #"{"defaultAction":"\#(other)","syscalls":[{"name":"getpid","action":"\#(action)"}]}"#
    #expect(try Self.verdict(rule, "getpid") == wanted)
    #expect(try Self.verdict(rule, "read") == (other == "SCMP_ACT_ALLOW" ? .allow : .errno(1)))
    let asDefault = #"{"defaultAction":"\#(action)","syscalls":[{"names":["futex"],"action":"\#(other)"}]}"#
    #expect(try Self.verdict(asDefault, "getuid") == wanted)
  }

  @Test func `errno values, by number and by name`() throws {
    let json = #"""
      {"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,"syscalls":[
        {"names":["getpid"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
        {"names":["getuid"],"action":"SCMP_ACT_ERRNO","errno":"ENOSYS","errnoRet":38},
        {"names":["getgid"],"action":"SCMP_ACT_ERRNO","errno":"EIO"},
        {"names":["gettid"],"action":"SCMP_ACT_TRACE","errnoRet":60000},
        {"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
        {"names":["statx"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{},"excludes":{},"comment":"x"}]}
      """#
    for (name, wanted) in [
      ("getpid", .errno(38)), ("getuid", .errno(38)), ("getgid", .errno(5)), ("gettid", .trace(60000)),
      ("getppid", .errno(13)), ("read", .errno(13)), ("statx", .allow),
    ] as [(String, Simulation.Action)] { #expect(try Self.verdict(json, name) == wanted, "\(name)") }
  }

  /// Operator, operand, arguments that match and that do not.
  static let operators: [(String, String, [UInt64], [UInt64])] = [
    ("SCMP_CMP_EQ", #""value":5"#, [5], [4, 6, 5 | 1 << 32]),
    ("SCMP_CMP_NE", #""value":5"#, [4, 6, 5 | 1 << 32], [5]),
    ("SCMP_CMP_LT", #""value":5"#, [0, 4], [5, 6, 1 << 32]),
    ("SCMP_CMP_LE", #""value":5"#, [0, 4, 5], [6, 1 << 32]),
    ("SCMP_CMP_GT", #""value":5"#, [6, 1 << 32, .max], [0, 5]),
    ("SCMP_CMP_GE", #""value":5"#, [5, 6, 1 << 32], [0, 4]),
    ("SCMP_CMP_MASKED_EQ", #""value":2114060288,"valueTwo":0"#, [0, 17, 0x0100_0000], [0x1000_0000, 0x0002_0000]),
    ("SCMP_CMP_EQ", #""value":18446744073709551615"#, [.max], [0, .max - 1, 0xffff_ffff]),
  ]

  @Test(arguments: operators.indices, [0, 5])
  func `every operator on the first and the last argument`(_ index: Int, argument: Int) throws {
    let (op, value, matching, others) = Self.operators[index]
    let json = #"""
      {"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["mmap"],"action":"SCMP_ACT_ALLOW",
       "args":[{"index":\#(argument),\#(value),"op":"\#(op)"}]}]}
      """#
    for (values, wanted) in [(matching, .allow), (others, .errno(1))] as [([UInt64], Simulation.Action)] {
      for value in values {
        let arguments = [UInt64](repeating: 7, count: argument) + [value]
        #expect(try Self.verdict(json, "mmap", arguments) == wanted, "\(op) \(value)")
      }
    }
  }

  @Test func `tests of different arguments must all hold, of the same one any`() throws {
    func json(_ first: Int, _ second: Int) -> String {
      #"""
      {"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
        {"index":\#(first),"value":1,"op":"SCMP_CMP_EQ"},{"index":\#(second),"value":2,"op":"SCMP_CMP_EQ"}]}]}
      """#
    }
    #expect(try Self.verdict(json(0, 1), "socket", [1, 2]) == .allow)
    #expect(try Self.verdict(json(0, 1), "socket", [1, 1]) == .errno(1))
    for value: UInt64 in [1, 2] { #expect(try Self.verdict(json(0, 0), "socket", [value]) == .allow) }
    #expect(try Self.verdict(json(0, 0), "socket", [3]) == .errno(1))
  }

  @Test(arguments: [
    #""architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"]"#,
    #""archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}"#
      + #",{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}]"#,
  ])
  func `architectures in both forms`(_ field: String) throws {
    let json =
      #"{"defaultAction":"SCMP_ACT_ALLOW",\#(field),"syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO"}]}"#
    for machine in Machine.allCases {
      #expect(try Self.verdict(json, "chmod", on: machine) == .errno(1), "\(machine)")
      #expect(try Self.verdict(json, "getpid", on: machine) == .allow, "\(machine)")
    }
    let program = Simulation(program: try Self.program(json))
    #expect(program.decide(0, cseccomp_architecture_arm()) == .kill)
  }

  static let conditions: [(String, Bool)] = [
    (#""includes":{"caps":["CAP_SYS_ADMIN"]}"#, true), (#""includes":{"caps":["CAP_SYS_TIME"]}"#, false),
    (#""includes":{"caps":["CAP_SYS_ADMIN","CAP_SYS_TIME"]}"#, false),
    (#""excludes":{"caps":["CAP_SYS_ADMIN"]}"#, false), (#""excludes":{"caps":["CAP_SYS_TIME"]}"#, true),
    (#""excludes":{"caps":["CAP_SYS_TIME","CAP_SYS_ADMIN"]}"#, false),
    (#""includes":{"arches":["amd64","x32"]}"#, true), (#""includes":{"arches":["s390"]}"#, false),
    (#""excludes":{"arches":["amd64"]}"#, false), (#""excludes":{"arches":["arm64"]}"#, true),
    (#""includes":{"minKernel":"4.8"}"#, true), (#""includes":{"minKernel":"99.0"}"#, false),
    (#""excludes":{"minKernel":"4.8"}"#, false), (#""excludes":{"minKernel":"99.0"}"#, true),
    (#""includes":{"caps":["CAP_SYS_ADMIN"],"arches":["arm64"]}"#, false),
  ]

  @Test(arguments: conditions.indices)
  func `includes and excludes`(_ index: Int) throws {
    let (condition, counts) = Self.conditions[index]
    let json = #"""
      {"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["mount"],"action":"SCMP_ACT_ALLOW",\#(condition)}]}
      """#
    #expect(try Self.verdict(json, "mount", capabilities: 1 << 21) == (counts ? .allow : .errno(1)))
  }

  @Test func `a call younger than the profile is ENOSYS where the default forbids`() throws {
    func decide(_ action: String, _ number: UInt32, _ machine: Machine = native) throws -> Simulation.Action {
      let json = #"""
        {"defaultAction":"\#(action)","architectures":["SCMP_ARCH_X86"],"syscalls":[
          {"names":["openat2","read"],"action":"\#(action == "SCMP_ACT_ALLOW" ? "SCMP_ACT_LOG" : "SCMP_ACT_ALLOW")"}]}
        """#
      return Simulation(program: try Self.program(json)).decide(number, machine.auditToken)
    }
    for machine in [Machine.x86_64, .i386] {
      for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        #expect(try decide(action, 438, machine) == .errno(38), "\(action)")  // pidfd_getfd, one above openat2
        #expect(try decide(action, 437, machine) == .allow)
        #expect(try decide(action, 436, machine) != .errno(38))  // close_range
      }
      #expect(try decide("SCMP_ACT_ALLOW", 438, machine) == .allow)
      #expect(try decide("SCMP_ACT_LOG", 438, machine) == .log)
    }
    #expect(try decide("SCMP_ACT_ERRNO", 0x4000_0000 | 500) == .kill)  // x32 is not in the profile
  }

  @Test func `flags, unknown names, rules that say what the default says`() throws {
    let json = #"""
      {"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW",
       "SECCOMP_FILTER_FLAG_TSYNC"],"syscalls":[{"names":["no_such_call","chmod"],"action":"SCMP_ACT_ERRNO"},
       {"names":["read"],"action":"SCMP_ACT_ALLOW"}]}
      """#
    #expect(try Self.program(json).flags == 7)
    #expect(try Self.verdict(json, "chmod") == .errno(1))
    #expect(try Self.program(#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).flags == 0)
  }

  /// A profile, the place that the refusal names, and a word of the reason.
  static let refused: [(String, String, String)] = [
    ("", "", "JSON"), ("[]", "", "JSON"), ("{", "", "JSON"), ("null", "", "JSON"),
    (String(repeating: "[", count: 100_000), "", "JSON"),
    (#"{"defaultAction":"SCMP_ACT_ALLOW","x":\#(String(repeating: "[", count: 5000))"#, "", "JSON"),
    ("{}", "defaultAction", "missing"), (#"{"defaultAction":7}"#, "defaultAction", "type"),
    (#"{"defaultAction":"ALLOW"}"#, "defaultAction", "ALLOW"),
    (#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "defaultAction", "SCMP_ACT_NOTIFY"),
    (#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#, "defaultAction", "errno"),
    (#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#, "defaultAction", "4096"),
    (#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":-1}"#, "defaultErrnoRet", ""),
    (#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EFLY"}"#, "defaultErrno", "EFLY"),
    (#"{"defaultAction":"SCMP_ACT_ALLOW","sycalls":[]}"#, "sycalls", "no field"),
    (#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x"}"#, "listenerPath", "notif"),
    (#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#, "flags[0]", "notif"),
    (#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#, "flags[0]", "X"),
    (#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["x86_64"]}"#, "architectures[0]", "x86_64"),
    (
      #"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_Z80"]}"#, "architectures[1]",
      "Z80"
    ),
    (
      #"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
      "archMap", "architectures"
    ),
    (rule(#""action":"SCMP_ACT_ALLOW""#), "syscalls[0].names", "missing"),
    (rule(#""name":"read","names":["read"],"action":"SCMP_ACT_ALLOW""#), "syscalls[0].name", "names"),
    (rule(#""names":["read"]"#), "syscalls[0].action", "missing"),
    (rule(#""names":["read"],"action":"SCMP_ACT_NOTIFY""#), "syscalls[0].action", "SCMP_ACT_NOTIFY"),
    (rule(#""names":["read"],"action":"SCMP_ACT_KILL","errnoRet":1"#), "syscalls[0].action", "errno"),
    (rule(#""names":["read"],"action":"SCMP_ACT_LOG","arg":[]"#), "syscalls[0].arg", "no field"),
    (rule(#""names":[7],"action":"SCMP_ACT_LOG""#), "syscalls[0].names[0]", "type"),
    (
      rule(#""names":["read"],"action":"SCMP_ACT_LOG","includes":{"caps":["CAP_FLY"]}"#),
      "syscalls[0].includes.caps[0]", "FLY"
    ),
    (
      rule(#""names":["read"],"action":"SCMP_ACT_LOG","excludes":{"minKernel":"new"}"#),
      "syscalls[0].excludes.minKernel", "new"
    ),
    (argument(#""index":6,"value":1,"op":"SCMP_CMP_EQ""#), "syscalls[0].args[0].index", "6"),
    (argument(#""index":0,"value":1,"op":"EQ""#), "syscalls[0].args[0].op", "EQ"),
    (argument(#""index":0,"op":"SCMP_CMP_EQ""#), "syscalls[0].args[0].value", "missing"),
    (argument(#""index":0,"value":-1,"op":"SCMP_CMP_EQ""#), "syscalls[0].args[0].value", ""),
  ]

  private static func rule(_ fields: String) -> String {
    #"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{\#(fields)}]}"#
  }

  private static func argument(_ fields: String) -> String {
    rule(#""names":["read"],"action":"SCMP_ACT_LOG","args":[{\#(fields)}]"#)
  }

  @Test(arguments: refused.indices)
  func `what cannot be applied is refused with its place`(_ index: Int) throws {
    let (json, place, word) = Self.refused[index]
    let error = #expect(throws: SeccompError.self) { try Self.program(json).instructionCount }
    guard case .profile(let found, let reason) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(found == place)
    #expect(reason.contains(word), "\(reason)")
    #expect(reason.utf8.count < 400)
  }

  @Test func `size, rules and instructions are bounded`() {
    #expect(throws: SeccompError.self) { try Self.program(String(repeating: " ", count: 1 << 20) + "{}") }
    let names = (0..<20_000).map { "\"n\($0)\"" }.joined(separator: ",")
    #expect(throws: SeccompError.self) {
      try Self.program(
        #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[\#(names)],"action":"SCMP_ACT_LOG"}]}"#)
    }
    func conditional(_ count: Int) -> String {
      let tests = (1...count).map {
        #"{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":\#($0 << 33 + $0),"op":"SCMP_CMP_EQ"}]}"#
      }
      return #"""
        {"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"],
         "syscalls":[\#(tests.joined(separator: ","))]}
        """#
    }
    let long = #expect(throws: SeccompError.self) { try Self.program(conditional(1000)) }
    let many = #expect(throws: SeccompError.self) { try Self.program(conditional(1025)) }
    if case .tooLong = long {} else { Issue.record("\(String("\(String(describing: long))".prefix(300)))") }
    if case .profile(let place, _) = many { #expect(place == "syscalls[1024]") } else { Issue.record("not refused") }
  }

  @Test func `a profile is compiled once for each set of capabilities`() throws {
    let compiler = SeccompCompiler()
    let json = Array(#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.utf8)
    let first = try compiler.compile(.localhost(json: json, capabilities: 1))
    #expect(try compiler.compile(.localhost(json: json, capabilities: 1)) == first)
    #expect(compiler.count == 1)
    _ = try compiler.compile(.localhost(json: json, capabilities: 2))
    #expect(compiler.count == 2)
    for number in 0..<200 { _ = try compiler.compile(.localhost(json: json, capabilities: UInt64(number) << 8)) }
    #expect(compiler.count <= 64)
    // Long profiles are not kept without bound either.
    let long = json + [UInt8](repeating: 32, count: 900_000)
    for number in 0..<6 { _ = try compiler.compile(.localhost(json: long, capabilities: UInt64(number))) }
    #expect(compiler.count <= 4)
  }
}
