import GRPCCore
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct DeadlineInterceptorTests {
  @Test(arguments: [
    ("500m", Duration.milliseconds(500)), ("2S", .seconds(2)), ("1M", .seconds(60)), ("1H", .seconds(3600)),
    ("7u", .microseconds(7)), ("99999999n", .nanoseconds(99_999_999)),
  ])
  func durations(text: String, duration: Duration) {
    #expect(DeadlineInterceptor.duration(text) == duration)
  }

  @Test(arguments: ["", "S", "1", "-1S", "1x", "123456789S"]) func noDurations(text: String) {
    #expect(DeadlineInterceptor.duration(text) == nil)
  }

  @Test(arguments: [
    CancellationError() as any Error, RuntimeError(.cancelled, "sleep: cancelled"),
    RPCError(code: .cancelled, message: "cancelled"),
  ])
  func aCancelledCallIsLateOnlyAfterItsTime(error: any Error) {
    #expect(DeadlineInterceptor.late(error, .now + .seconds(60)) == nil)
    #expect(DeadlineInterceptor.late(error, .now - .seconds(1))?.code == .deadlineExceeded)
  }

  @Test func otherFailuresStayWhatTheyAre() {
    #expect(DeadlineInterceptor.late(RuntimeError(.notFound, "x"), .now - .seconds(1)) == nil)
  }
}
