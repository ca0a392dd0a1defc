import CRIProtocol
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct SmallPartsTests {
  @Test func laterKeysReplaceEarlierOnesInTheirPlace() {
    var environment = Environment()
    environment.set("PATH", "/bin")
    environment.add(line: "A=1")
    environment.add(line: "EMPTY")
    environment.add(line: "MARK=\u{301}v=1")
    environment.set("PATH".utf8, [0xff])
    #expect(
      environment.lines == [
        Array("PATH=".utf8) + [0xff], Array("A=1".utf8), Array("EMPTY=".utf8), Array("MARK=\u{301}v=1".utf8),
      ])
    #expect(environment.contains("MARK"))
  }

  /// An image chooses how many there are: each is looked up, not searched for.
  @Test(.timeLimit(.minutes(1))) func aSetOfAsManyVariablesAsThereMayBe() {
    var environment = Environment()
    for number in 0..<Environment.most { environment.add(line: "\(number)=") }
    #expect(environment.lines.count == Environment.most)
  }

  /// The CRI's number, the kernel's.
  @Test(arguments: [
    (8, 1), (10, 2), (13, 9), (18, 3), (23, 15), (29, 10), (30, 12), (32, 28), (35, 34), (50, 49), (51, 50), (65, 64),
  ])
  func stopSignalsOfTheCRI(_ cri: Int, _ kernel: UInt32) throws {
    let signal = try #require(Runtime_V1_Signal(rawValue: cri))
    #expect(try StopSignal.resolve(signal, image: "SIGINT") == kernel)
    #expect(StopSignal.criSignal(kernel: kernel).rawValue == cri || kernel == 6)
  }

  @Test(arguments: [("SIGQUIT", 3), ("quit", 3), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("", 15)])
  func stopSignalsOfImages(_ text: String, _ kernel: UInt32) throws {
    #expect(try StopSignal.resolve(.runtimeDefault, image: text) == kernel)
  }

  @Test(arguments: ["SIGNONE", "65", "0", "-1", "RTMIN+16"])
  func badStopSignals(_ text: String) {
    #expect(throws: RuntimeError.self) { try StopSignal.resolve(.runtimeDefault, image: text) }
  }

  @Test func seccompFormsAgree() throws {
    #expect(try SeccompChoice(profile: nil, path: "", field: "x") == .unconfined)
    #expect(try SeccompChoice(profile: nil, path: "runtime/default", field: "x") == .runtimeDefault)
    // The zero value of a present message is RuntimeDefault.
    #expect(try SeccompChoice(profile: .init(), path: "unconfined", field: "x") == .runtimeDefault)
    let named = "x.seccomp_profile_path"
    #expect(
      try SeccompChoice(profile: nil, path: "localhost//a/b.json", field: "x")
        == .localhost(path: "/a/b.json", field: named))
    for reference in ["/a/b.json", "localhost//a/b.json"] {
      var profile = Runtime_V1_SecurityProfile()
      profile.profileType = .localhost
      profile.localhostRef = reference
      #expect(
        try SeccompChoice(profile: profile, path: "", field: "x")
          == .localhost(path: "/a/b.json", field: "x.seccomp.localhost_ref"))
    }
  }

  @Test(arguments: [
    "", "a.json", "../a", "localhost/a.json", "localhost/", "/a\0b", "/a\nb", "/" + String(repeating: "a", count: 4096),
  ])
  func aLocalhostReferenceIsAnAbsolutePath(_ reference: String) {
    var profile = Runtime_V1_SecurityProfile()
    profile.profileType = .localhost
    profile.localhostRef = reference
    #expect(throws: RuntimeError.self) { try SeccompChoice(profile: profile, path: "", field: "x") }
    #expect(throws: RuntimeError.self) {
      try SeccompChoice(profile: nil, path: "localhost/" + (reference.isEmpty ? "x" : reference), field: "x")
    }
  }

  @Test func theVisibleMountDecidesThePropagation() {
    let mounts = HostMounts(
      mountinfo:
        "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /a\\040b rw shared:3 master:1 - tmpfs t rw\n3 1 0:5 / /c rw master:1 - tmpfs t rw\n"
    )
    #expect(mounts.propagation(of: "/a b/x") == .shared)
    #expect(mounts.propagation(of: "/c/d") == .slave)
    #expect(mounts.propagation(of: "/cd") == .private)
  }
}

@Suite struct LatchAndLaneTests {
  @Test func aCrowdOfCommandsSharesTheOutput() {
    let budget = OutputBudget()
    let taken = (0..<10).map { _ in budget.take() }
    #expect(taken.prefix(4).allSatisfy { $0 == OutputBudget.most })
    #expect(taken.dropFirst(4).allSatisfy { $0 == OutputBudget.least })
    taken.forEach(budget.giveBack)
    #expect(budget.take() == OutputBudget.most)
  }

  @Test func aLatchGivesUpAtItsDeadline() async {
    let latch = Latch()
    #expect(await !latch.wait(timeout: .milliseconds(5)))
    latch.open()
    #expect(await latch.wait())
  }

  @Test func aLaneKeepsItsOrder() async {
    let lane = Lane()
    let order = await withTaskGroup(of: [Int].self) { group in
      let log = OrderLog()
      for number in 0..<50 {
        group.addTask {
          await lane.run {
            await log.add(number)
            await Task.yield()
            await log.add(number)
          }
          return await log.numbers
        }
      }
      return await group.reduce(into: [Int]()) { if $1.count > $0.count { $0 = $1 } }
    }
    #expect(stride(from: 0, to: order.count, by: 2).allSatisfy { order[$0] == order[$0 + 1] })
    #expect(order.count == 100)
  }
}

private actor OrderLog {
  var numbers: [Int] = []
  func add(_ number: Int) { numbers.append(number) }
}
