import Synchronization
import Testing

@testable import ImageStore

@Suite(.timeLimit(.minutes(5))) struct SingleFlightTests {
  /// Opened by the test; what waits goes on then.
  final class Gate: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream() }

    func open() { continuation.finish() }
    func wait() async { for await _ in stream {} }
  }

  final class Counter: Sendable {
    private let value = Mutex(0)
    var count: Int { value.withLock { $0 } }
    func add() { value.withLock { $0 += 1 } }
  }

  @Test func tenShareOne() async throws {
    let flights = SingleFlight<String, Int>()
    let gate = Gate()
    let runs = Counter()
    let values = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<10 {
        group.addTask {
          try await flights.run("x") {
            runs.add()
            await gate.wait()
            return 7
          }
        }
      }
      group.addTask {
        while runs.count == 0 { await Task.yield() }
        gate.open()
        return 7
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(values.count == 11)
    // One at a time: a caller that came after the end began another.
    #expect(runs.count <= 10)
  }

  /// FAULTS.md F54.
  @Test func theFirstLeavesAndTheSecondStays() async throws {
    let flights = SingleFlight<String, Int>()
    let gate = Gate()
    let began = Gate()
    let work: @Sendable () async throws -> Int = {
      began.open()
      await gate.wait()
      try Task.checkCancellation()
      return 7
    }
    let first = Task { try await flights.run("x", work) }
    await began.wait()
    let joined = Counter()
    let second = Task {
      joined.add()
      return try await flights.run("x", work)
    }
    while joined.count == 0 { await Task.yield() }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    gate.open()
    #expect(try await second.value == 7)
  }

  @Test func theLastOneTakesTheWorkAlong() async throws {
    let flights = SingleFlight<String, Int>()
    let began = Gate()
    let ended = Gate()
    let only = Task {
      try await flights.run("x") {
        began.open()
        await withTaskCancellationHandler {
          let forever = AsyncStream<Void>.makeStream()
          for await _ in forever.stream {}
        } onCancel: {
          ended.open()
        }
        return 1
      }
    }
    await began.wait()
    only.cancel()
    await #expect(throws: CancellationError.self) { try await only.value }
    await ended.wait()
    #expect(try await flights.run("x") { 2 } == 2)
  }

  @Test func errorsReachAll() async {
    let flights = SingleFlight<Int, Int>()
    await #expect(throws: ImageError.self) {
      try await flights.run(1) { throw ImageError(.corrupt, "x") }
    }
  }
}
