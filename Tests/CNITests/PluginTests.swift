import Foundation
import LinuxSystem
import RuntimeModel
import Testing

@testable import CNI

/// Plugins here are shell scripts: what the protocol says, and what happens when they break it.
@Suite struct PluginTests {
  /// As swiftletd does. Some other suites' NIO does it too, but not always before these.
  init() { signal(SIGPIPE, SIG_IGN) }

  private static func run(
    _ script: String, input: String = "{}", timeout: Duration = .seconds(60)
  ) throws -> Result<String, CNIError> {
    let directory = try TestDirectory()
    defer { directory.remove() }
    try directory.write("plug", "#!/bin/sh\n" + script, executable: true)
    let run = PluginRun(
      path: "\(directory.path)/plug", type: "plug", command: "ADD", network: "pods",
      environment: ["PATH=/usr/bin:/bin", "CNI_COMMAND=ADD"], input: Array(input.utf8), timeout: timeout)
    while true {
      do throws(CNIError) {
        return .success(String(decoding: try run.run(), as: UTF8.self))
      } catch {
        // A child that another test starts at this moment may still hold the file as it was written.
        if case .system(_, let failure) = error, "\(failure)".contains("ETXTBSY") { continue }
        return .failure(error)
      }
    }
  }

  @Test func inputAndEnvironmentArrive() throws {
    let large = String(repeating: "x", count: 300_000)
    let answer = try Self.run(#"echo "$CNI_COMMAND $(wc -c < /dev/stdin)""#, input: large).get()
    #expect(answer == "ADD 300000\n")
  }

  @Test func aPluginThatReadsNothingIsNoTrouble() throws {
    #expect(try Self.run("echo done", input: String(repeating: "x", count: 300_000)).get() == "done\n")
  }

  /// Script and what is said of it.
  static let failures: [(row: String, script: String, words: String)] = [
    (
      "a refusal", #"echo '{"cniVersion": "1.0.0", "code": 7, "msg": "no subnet", "details": "in ipam"}'; exit 1"#,
      "plugin \"plug\", ADD of network \"pods\": no subnet (in ipam), code 7: bad configuration"
    ),
    ("no words", "exit 3", "plugin \"plug\", ADD of network \"pods\": it ended with 3"),
    ("words on standard error", "echo 'panic: oh' >&2; exit 2", "it ended with 2 (panic: oh)"),
    ("killed", "kill -9 $$", "it was killed by signal 9"),
    ("a flood", "head -c 3000000 /dev/zero; exit 0", "its answer is longer than 1048576 bytes"),
  ]

  @Test(arguments: failures) func failuresAreTold(row: String, script: String, words: String) throws {
    do {
      let answer = try Self.run(script).get()
      Issue.record("\(row) passed as \(answer.prefix(80))")
    } catch {
      #expect("\(error)".contains(words), "\(error)")
    }
  }

  @Test func aPluginThatHangsIsKilledWithItsChildren() throws {
    let directory = try TestDirectory()
    defer { directory.remove() }
    var started: Int32?
    // On a machine that stands still it may be killed before it has begun.
    for timeout in [Duration.seconds(1), .seconds(10), .seconds(60)] where started == nil {
      let begun = ContinuousClock.now
      do {
        _ = try Self.run("sleep 1000 & echo $! > \(directory.path)/child; wait", timeout: timeout).get()
        Issue.record("it passed")
      } catch {
        guard case .timedOut(_, let command, _, _)? = error as? CNIError else {
          Issue.record("\(error)")
          return
        }
        #expect(command == "ADD")
      }
      #expect(ContinuousClock.now - begun < timeout + .seconds(60))
      let text = try? directory.read("child")
      started = text.flatMap { Int32($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }
    let child = try #require(started)
    // SIGKILL works while we look; the orphan may wait for its reaper as a zombie.
    let deadline = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < deadline, Self.isRunning(child) { sched_yield() }
    #expect(!Self.isRunning(child))
  }

  private static func isRunning(_ pid: Int32) -> Bool {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return false }
    return !stat.contains(") Z ")
  }

  @Test func argumentsCannotBeExtended() throws {
    var pod = CNIPod(sandbox: .random(), name: "web", namespace: "default", uid: "u")
    #expect(try pod.arguments().hasPrefix("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"))
    pod.name = "web;K8S_POD_NAMESPACE=kube-system"
    #expect(throws: CNIError.self) { try pod.arguments() }
  }

  @Test func resultsOfAllVersions() throws {
    let text = #"""
      {"cniVersion": "0.4.0", "interfaces": [{"name": "br0", "mac": "aa:00:00:00:00:01"}, {"name": "veth1"},
       {"name": "eth0", "mac": "aa:00:00:00:00:02", "sandbox": "/ns"}],
       "ips": [{"version": "4", "interface": 2, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},
               {"version": "6", "interface": 2, "address": "fd00::5/64"}, {"interface": 0, "address": "10.9.9.9/24"}]}
      """#
    let result = try CNIResult(JSON(parsing: Array(text.utf8)), interface: "eth0", namespace: "/ns")
    #expect(result.addresses == ["10.1.0.5", "fd00::5"] && result.gateway == "10.1.0.1")
    #expect(result.mac == "aa:00:00:00:00:02" && result.hostInterface == "veth1" && result.bridge == "br0")
    for bad in [#"{"ips": [{"address": "10.1.0.5"}]}"#, #"{"ips": [{"address": "x/24"}]}"#, #"{"ips": []}"#] {
      #expect(throws: ResultProblem.self) {
        try CNIResult(JSON(parsing: Array(bad.utf8)), interface: "eth0", namespace: "/ns")
      }
    }
  }
}
