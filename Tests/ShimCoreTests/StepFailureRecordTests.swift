import CLinux
import Testing

@testable import ShimCore

struct StepFailureRecordTests {
  @Test(
    arguments: [
      ("mount proc", 22, "/proc"), ("exec", 2, "nothing"), ("clone", 12, ""), ("", 0, ""),
      ("a step", 1, "a subject with \u{fc} and\nlines"),
    ] as [(String, Int32, String)])
  func survivesThePipe(step: String, errno: Int32, subject: String) throws {
    let read = try #require(readStepFailure(StepFailure(step: step, errno: errno, subject: subject).record))
    #expect(read.step == step && read.errno == errno && read.subject == subject)
  }

  @Test func nothingSaidMeansExec() {
    #expect(readStepFailure([]) == nil)
  }

  @Test(arguments: [[1], [1, 0, 0, 0], [1, 0, 0, 0, 5, 0x61]] as [[UInt8]])
  func aTornRecordIsAFailureToo(bytes: [UInt8]) {
    #expect(readStepFailure(bytes)?.errno == EPROTO)
  }

  @Test func aRecordFitsIntoOneWriteToAPipe() {
    let failure = StepFailure(
      step: String(repeating: "s", count: 1000), errno: 1, subject: String(repeating: "x", count: 10_000))
    #expect(failure.record.count <= 4096)
    #expect(readStepFailure(failure.record)?.step.utf8.count == 255)
  }
}
