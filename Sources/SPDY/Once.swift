/// Something that happens once and that one task waits for.
package struct Once: Sendable {
  private let stream: AsyncStream<Never>
  private let continuation: AsyncStream<Never>.Continuation

  package init() { (stream, continuation) = AsyncStream.makeStream() }

  package func happen() { continuation.finish() }

  /// Returns when it has happened or the task is cancelled.
  package func wait() async { for await _ in stream {} }
}
