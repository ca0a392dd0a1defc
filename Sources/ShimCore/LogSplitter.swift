import CLinux

/// Cuts a container's output into the records of the CRI log format. Pure: what is cut goes to a closure.
///
/// A line ends at `\n` (a `\r` before it is dropped). A line longer than the limit becomes partial records of exactly
/// `limit` bytes and a last full one; output that ends without a newline ends with a partial record.
struct LogSplitter {
  /// Bytes of content in one record.
  let limit: Int
  /// The beginning of a line that has not ended; at most `limit` bytes, and one more when that is a `\r`.
  private(set) var pending: [UInt8] = []

  init(limit: Int) {
    self.limit = max(1, limit)
  }

  private static let newline: UInt8 = 10
  private static let carriageReturn: UInt8 = 13

  /// `record` gets a record's content in two pieces, to be written one after the other, and whether the line is full.
  mutating func feed(
    _ chunk: UnsafeRawBufferPointer,
    _ record: (_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ full: Bool) -> Void
  ) {
    var rest = chunk
    while let start = rest.baseAddress, !rest.isEmpty {
      if let newline = memchr(start, Int32(LogSplitter.newline), rest.count) {
        let length = UnsafeRawPointer(newline) - start
        var line = UnsafeRawBufferPointer(start: start, count: length)
        rest = UnsafeRawBufferPointer(start: start + length + 1, count: rest.count - length - 1)
        if let last = line.last {
          if last == LogSplitter.carriageReturn { line = UnsafeRawBufferPointer(start: start, count: length - 1) }
        } else if pending.last == LogSplitter.carriageReturn {
          pending.removeLast()
        }
        line = emitPartials(line, lineMayEnd: false, record)
        pending.withUnsafeBytes { record($0, line, true) }
        if !pending.isEmpty { pending = [] }
      } else {
        pending.append(contentsOf: emitPartials(rest, lineMayEnd: true, record))
        return
      }
    }
  }

  /// The output has ended.
  mutating func finish(
    _ record: (_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ full: Bool) -> Void
  ) {
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    _ = emitPartials(nothing, lineMayEnd: false, record)
    if !pending.isEmpty { pending.withUnsafeBytes { record($0, nothing, false) } }
    pending = []
  }

  /// Cuts partial records while pending and `line` together are over the limit; what is left of `line`.
  ///
  /// With `lineMayEnd`, a `\r` just over the limit is held, since it may belong to a newline that follows.
  private mutating func emitPartials(
    _ line: UnsafeRawBufferPointer, lineMayEnd: Bool,
    _ record: (_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ full: Bool) -> Void
  ) -> UnsafeRawBufferPointer {
    var line = line
    while pending.count + line.count > limit {
      let last = line.last ?? pending.last
      if lineMayEnd, pending.count + line.count == limit + 1, last == LogSplitter.carriageReturn { break }
      let held = min(limit, pending.count)
      let taken = limit - held
      pending.withUnsafeBytes {
        record(
          UnsafeRawBufferPointer(rebasing: $0[..<held]), UnsafeRawBufferPointer(rebasing: line[..<taken]), false)
      }
      pending.removeFirst(held)
      line = UnsafeRawBufferPointer(rebasing: line[taken...])
    }
    return line
  }
}
