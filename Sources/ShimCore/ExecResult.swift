import CLinux

/// An exec's answer, but for its output.
struct ExecResult {
  var exitCode: Int32
  var timedOut: Bool
  var truncated: Bool

  /// More than a frame's header with the envelope, and than all fields but the output.
  static let largestTag = 64

  static func size(ofBytes count: Int?) -> Int {
    guard let count else { return 0 }
    return 1 + Wire.size(ofVarint: UInt64(count)) + count
  }

  /// The bytes of the fields that are not output.
  var size: Int {
    Wire.size(ofField: UInt64(exitCode)) + Wire.size(ofField: timedOut ? 1 : 0) + Wire.size(ofField: truncated ? 1 : 0)
  }

  func store(to end: inout UnsafeMutableRawPointer) {
    Wire.put(field: 3, varint: UInt64(exitCode), &end)
    Wire.put(field: 4, varint: timedOut ? 1 : 0, &end)
    Wire.put(field: 5, varint: truncated ? 1 : 0, &end)
  }
}

extension Call {
  /// Below this an answer is put together in one block, above it the output is sent from where it was read to.
  private static let copied = 64 << 10

  /// Answers with an ExecSyncResponse. The blocks are the call's from now on.
  /// - Parameter onRelease: called with how many bytes of output are no longer held.
  func succeed(
    _ result: ExecResult, output: (base: UnsafeMutableRawPointer, count: Int)?,
    errors: (base: UnsafeMutableRawPointer, count: Int)?, onRelease: @escaping (Int) -> Void
  ) {
    let size = ExecResult.size(ofBytes: output?.count) + ExecResult.size(ofBytes: errors?.count) + result.size
    let held = (output?.count ?? 0) + (errors?.count ?? 0)
    let whole = size <= Call.copied
    guard let (block, start) = frame(payload: size, allocating: whole ? size : ExecResult.largestTag) else {
      free(output?.base)
      free(errors?.base)
      onRelease(held)
      return connection.close()
    }
    var current = ExecAnswer(block: block, end: block + start, copying: whole, connection: connection)
    current.add(field: 1, output, onRelease)
    current.add(field: 2, errors, onRelease)
    result.store(to: &current.end)
    current.send()
  }
}

/// The pieces of an answer, sent as they are filled.
private struct ExecAnswer {
  var block: UnsafeMutableRawPointer
  var end: UnsafeMutableRawPointer
  let copying: Bool
  let connection: Connection

  mutating func add(
    field: Int, _ bytes: (base: UnsafeMutableRawPointer, count: Int)?, _ onRelease: @escaping (Int) -> Void
  ) {
    guard let bytes else { return }
    Wire.putTag(field: field, &end)
    Wire.put(varint: UInt64(bytes.count), &end)
    if copying {
      memcpy(end, bytes.base, bytes.count)
      end += bytes.count
      free(bytes.base)
      onRelease(bytes.count)
      return
    }
    send()
    connection.send(Chunk(adopting: bytes.base, count: bytes.count) { onRelease(bytes.count) })
    // Of what follows there is little: a tag or the last fields.
    guard let next = malloc(ExecResult.largestTag) else { return connection.close() }
    block = next
    end = next
  }

  func send() {
    connection.send(Chunk(adopting: block, count: end - block))
  }
}
