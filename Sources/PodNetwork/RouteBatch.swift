internal import CNetlink
internal import Glibc
internal import LinuxSystem

/// Requests to rtnetlink that go out in one send, made by libnl-route-3.
final class RouteBatch {
  struct Entry {
    var message: OpaquePointer
    /// What it does, for errors.
    var step: String
    /// What it does it to.
    var object: String
    /// Errnos that mean it was so already.
    var tolerated: [Int32]
  }

  struct Outcome {
    /// 0: done.
    var errno: Int32
    var detail: String
    /// The notification that the request caused, where NLM_F_ECHO asked for it.
    var echo: [UInt8]?
  }

  private(set) var entries: [Entry] = []

  deinit {
    for entry in entries { nlmsg_free(entry.message) }
  }

  /// - Parameter message: nil when libnl could not make it: out of memory, or a bug of ours.
  func add(
    _ step: String, _ object: String, tolerating: [Int32] = [], _ message: OpaquePointer?
  ) throws(NetworkError) {
    guard let message else { throw .kernel(step, ENOMEM, object, "libnl made no message") }
    entries.append(Entry(message: message, step: step, object: object, tolerated: tolerating))
  }

  func bytes(firstSequence: UInt32) -> [UInt8] {
    var bytes: [UInt8] = []
    for (index, entry) in entries.enumerated() {
      guard let header = nlmsg_hdr(entry.message) else { continue }
      header.pointee.nlmsg_seq = firstSequence &+ UInt32(index)
      header.pointee.nlmsg_pid = 0
      header.pointee.nlmsg_flags |= UInt16(NLM_F_REQUEST | NLM_F_ACK)
      bytes += UnsafeRawBufferPointer(start: header, count: Int(header.pointee.nlmsg_len))
      bytes += repeatElement(0, count: -Int(header.pointee.nlmsg_len) & 3)
    }
    return bytes
  }

  /// The first outcome that is a failure, as an error.
  func failure(_ outcomes: [Outcome]) -> NetworkError? {
    for (entry, outcome) in zip(entries, outcomes)
    where outcome.errno != 0 && !entry.tolerated.contains(outcome.errno) {
      return .kernel(entry.step, outcome.errno, entry.object, outcome.detail)
    }
    return nil
  }
}

extension Failpoint {
  /// - Throws: `kernel` for this step, where a test lets it fail.
  func pass(_ step: String, _ object: String) throws(NetworkError) {
    let failed = reach()
    if failed != 0 { throw .kernel(step, failed, object, "failpoint") }
  }
}

extension NetlinkSocket {
  /// Sends the batch; any failure is thrown, the messages after it were carried out all the same.
  @discardableResult
  func run(_ batch: RouteBatch) throws(NetworkError) -> [RouteBatch.Outcome] {
    let outcomes = try execute(batch)
    if let failure = batch.failure(outcomes) { throw failure }
    return outcomes
  }

  /// As `run`, at a place where a test may let it fail: then all is carried out, and the last message counts as refused.
  @discardableResult
  func run(
    _ point: Failpoint, _ build: (RouteBatch) throws(NetworkError) -> Void
  ) throws(NetworkError) -> [RouteBatch.Outcome] {
    let batch = RouteBatch()
    try build(batch)
    let failed = point.reach()
    let outcomes = try run(batch)
    if failed != 0, let last = batch.entries.last { throw .kernel(last.step, failed, last.object, "failpoint") }
    return outcomes
  }

  /// As `run`, for one batch that `build` fills.
  @discardableResult
  func run(_ build: (RouteBatch) throws(NetworkError) -> Void) throws(NetworkError) -> [RouteBatch.Outcome] {
    let batch = RouteBatch()
    try build(batch)
    return try run(batch)
  }
}
