import CLinux

/// The descriptors that came with a request, closed with the object unless taken. Made first of all, so that none is left
/// for a request that comes later.
final class GivenEnds {
  private(set) var ends = Stdio(input: -1, output: -1, error: -1)
  /// All that were announced have come.
  private(set) var isComplete = true

  init(_ connection: Connection, input: Bool, output: Bool, error: Bool) {
    if input { ends.input = take(connection) }
    if output { ends.output = take(connection) }
    if error { ends.error = take(connection) }
  }

  deinit {
    closeAndForget(&ends.input)
    closeAndForget(&ends.output)
    closeAndForget(&ends.error)
  }

  /// They belong to the caller from now on.
  func takeAll() -> Stdio {
    let taken = ends
    ends = Stdio(input: -1, output: -1, error: -1)
    return taken
  }

  private func take(_ connection: Connection) -> Int32 {
    let descriptor = connection.takeDescriptor()
    if descriptor < 0 { isComplete = false }
    return descriptor
  }
}
