/// Runs `body` on a thread that begins and ends with it: for calls that move or change the thread that makes them.
/// - Throws: what `body` throws; EAGAIN where a limit on threads is reached.
func onOwnThread<Value: Sendable>(
  _ body: @escaping @Sendable () throws(SystemCallError) -> Value
) async throws(SystemCallError) -> Value {
  let result: Result<Value, SystemCallError> = await withCheckedContinuation { continuation in
    do throws(SystemCallError) {
      try startThread(named: "own") { continuation.resume(returning: Result(catching: body)) }
    } catch {
      continuation.resume(returning: .failure(error))
    }
  }
  return try result.get()
}
