import CLinux

/// Turns one stream of a container into records of its log.
final class LogStream {
  /// What fits into the shared buffer with its prefix.
  static let largestLimit = 96 << 10
  static let defaultLimit = 16384

  private static let tagOffset = Timestamp.size + 8
  private static let prefixSize = Timestamp.size + 10

  private var splitter: LogSplitter
  /// `<time> stdout F `, its time set at each read and its tag at each record.
  private let prefix: UnsafeMutableRawBufferPointer

  init(isError: Bool, limit: Int) {
    splitter = LogSplitter(limit: limit == 0 ? LogStream.defaultLimit : min(limit, LogStream.largestLimit))
    prefix = UnsafeMutableRawBufferPointer.allocate(byteCount: LogStream.prefixSize, alignment: 8)
    let name: StaticString = isError ? " stderr F " : " stdout F "
    if let base = prefix.baseAddress { memcpy(base + Timestamp.size, name.utf8Start, 10) }
  }

  deinit {
    prefix.deallocate()
  }

  /// Adds the records that `bytes` complete, and writes them.
  func received(_ bytes: UnsafeRawBufferPointer, to log: LogFile) {
    Timestamp.store(wallClock(), to: prefix)
    let prefix = prefix
    splitter.feed(bytes) { head, tail, full in
      prefix[LogStream.tagOffset] = full ? 0x46 : 0x50
      log.append(UnsafeRawBufferPointer(prefix), head, tail)
    }
    log.flush()
  }

  /// Writes a last line that never ended.
  func finish(to log: LogFile) {
    Timestamp.store(wallClock(), to: prefix)
    let prefix = prefix
    splitter.finish { head, tail, full in
      prefix[LogStream.tagOffset] = full ? 0x46 : 0x50
      log.append(UnsafeRawBufferPointer(prefix), head, tail)
    }
    log.flush()
  }
}
