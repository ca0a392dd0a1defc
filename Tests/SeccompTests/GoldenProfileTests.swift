import CSeccomp
import Glibc
import Testing

@testable import Seccomp

/// RuntimeDefault as a table to be read: what each machine's calls answer under some sets of capabilities, their
/// arguments all zero. `SWIFTLET_GOLDEN=write` writes it anew; the difference is then for a reviewer.
@Suite(.enabled(if: seccomp_arch_native() == cseccomp_architecture_x86_64(), "the numbers are x86-64's"))
struct GoldenProfileTests {
  private static let path =
    String(#filePath).split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" } + "/Golden/runtime-default.txt"

  private static let sets: [(name: String, mask: UInt64)] = [
    ("the default ones", 0xa804_25fb), ("none", 0), ("SYS_ADMIN", 1 << 21), ("all", (1 << 41) - 1),
  ]

  /// Every number that a table of Linux 6.18 has, and some that none has.
  private static let numbers = Array(0..<UInt32(480)) + Array(510..<UInt32(550)) + [1000]

  private static func word(_ action: Simulation.Action) -> String {
    switch action {
    case .allow: "yes"
    case .errno(1): "EPERM"
    case .errno(38): "ENOSYS"
    default: "\(action)"
    }
  }

  private func table() throws -> String {
    let compiler = SeccompCompiler()
    let programs = try Self.sets.map {
      Simulation(program: try compiler.compile(.runtimeDefault(capabilities: $0.mask)))
    }
    var lines: [String] = []
    for machine in Machine.allCases {
      var groups: [String: [String]] = [:]
      let base: UInt32 = machine == .x32 ? 0x4000_0000 : 0
      for number in Self.numbers {
        var name = "#\(number)"
        if let raw = seccomp_syscall_resolve_num_arch(machine.token, Int32(bitPattern: base | number)) {
          name = String(cString: raw)
          free(raw)
        }
        let verdicts = zip(Self.sets, programs).map { set, program in
          "\(set.name): \(Self.word(program.decide(base | number, machine.auditToken)))"
        }
        groups[verdicts.joined(separator: ", "), default: []].append(name)
      }
      for (verdict, names) in groups.sorted(by: { $0.key < $1.key }) {
        lines.append("\(machine) with capabilities \(verdict)")
        lines += names.sorted().map { "  \($0)" }
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  @Test func `the default profile is the one that was reviewed`() throws {
    let now = try table()
    if getenv("SWIFTLET_GOLDEN").map({ String(cString: $0) }) == "write" {
      let file = try #require(fopen(Self.path, "w"))
      fputs(now, file)
      fclose(file)
    }
    let file = try #require(fopen(Self.path, "r"), "\(Self.path)")
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    bytes.removeLast(bytes.count - fread(&bytes, 1, bytes.count, file))
    let reviewed = String(decoding: bytes, as: UTF8.self)
    let difference = now.split(separator: "\n").difference(from: reviewed.split(separator: "\n"))
    #expect(difference.isEmpty, "\(difference)")
  }
}
