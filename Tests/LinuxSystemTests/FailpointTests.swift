import RuntimeModel
import Testing

@testable import LinuxSystem

/// Of the table alone: what is armed is the whole process's, and other suites run beside this one.
@Suite struct FailpointTests {
  @Test func anActionComesAtTheVisitThatWasAskedFor() throws {
    var table = try FailpointTable(
      "run.leased=2*error:ENOSPC,run.ready=kill,net.attach.veth=stretch:5,start.record=hold:/a:b")
    let places: [Failpoint] = [
      .runLeased, .runLeased, .runLeased, .runReady, .runReady, .attachVeth, .runAnswer, .startRecord,
    ]
    var actions: [FailpointTable.Action?] = []
    for place in places { actions.append(table.visit(place)) }
    #expect(actions == [nil, .fail(28), nil, .kill, .kill, .stretch(5), nil, .hold("/a:b")])
    #expect(try FailpointTable("").isEmpty)
  }

  @Test(arguments: [
    "run.lease=kill", "run.leased", "run.leased=", "run.leased=die", "run.leased=error:EWHAT", "run.leased=0*kill",
    "run.leased=stretch:x", "run.leased=hold", "run.leased=kill:9", "run.leased=error",
  ]) func whatIsNoneIsRefusedByName(text: String) {
    let error = #expect(throws: RuntimeError.self) { try FailpointTable(text) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.hasPrefix("failpoint ") == true)
  }
}
