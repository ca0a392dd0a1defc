internal import CNetlink
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// A netlink socket of one network namespace: the one of the thread that made it.
///
/// Sends whole batches and reads the kernel's answers, which are there when send returns (netlink(7)). Used by one
/// thread at a time; it blocks, so never by one of the cooperative pool.
final class NetlinkSocket: Sendable {
  private let descriptor: SharedFD
  let sequence = Atomic<UInt32>(1)

  var raw: Int32 { descriptor.raw }

  /// - Parameters:
  ///   - family: NETLINK_ROUTE or NETLINK_NETFILTER.
  ///   - groups: multicast groups to hear.
  init(family: Int32, groups: [UInt32] = [], receiveBuffer: Int32 = 1 << 20) throws(NetworkError) {
    let raw = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), family)
    guard raw >= 0 else { throw .kernel("open", errno, "netlink socket \(family)") }
    descriptor = SharedFD(OwnedFD(owning: raw))
    // FORCE needs CAP_NET_ADMIN and passes rmem_max; the plain one is the fallback, and a smaller buffer only means
    // more full dumps.
    if !set(SOL_SOCKET, SO_RCVBUFFORCE, receiveBuffer) { _ = set(SOL_SOCKET, SO_RCVBUF, receiveBuffer) }
    // Why a request failed, in words, and acknowledgements without a copy of the request.
    _ = set(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    _ = set(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    _ = set(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    var address = sockaddr_nl()
    address.nl_family = sa_family_t(AF_NETLINK)
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(raw, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
      }
    }
    guard bound == 0 else { throw .kernel("bind", errno, "netlink socket \(family)") }
    for group in groups where !set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, Int32(group)) {
      throw .kernel("join group \(group) of", errno, "netlink socket \(family)")
    }
  }

  /// Sends all messages in one call.
  /// - Returns: one outcome per message, in order; the kernel goes on after a refused one.
  /// - Throws: only when the conversation itself failed.
  func execute(_ batch: RouteBatch) throws(NetworkError) -> [RouteBatch.Outcome] {
    guard !batch.entries.isEmpty else { return [] }
    let count = UInt32(batch.entries.count)
    let first = sequence.wrappingAdd(count, ordering: .relaxed).oldValue
    try transmit(batch.bytes(firstSequence: first))
    var outcomes = [RouteBatch.Outcome?](repeating: nil, count: batch.entries.count)
    var echoes = [[UInt8]?](repeating: nil, count: batch.entries.count)
    var pending = batch.entries.count
    try receive { header, payload in
      let index = Int(header.nlmsg_seq &- first)
      guard outcomes.indices.contains(index) else { return true }
      if Int32(header.nlmsg_type) == NLMSG_ERROR {
        let failure = NetlinkFailure(payload)
        outcomes[index] = .init(errno: failure.errno, detail: failure.text, echo: echoes[index])
        pending -= 1
      } else {
        echoes[index] = Array(payload)
      }
      return pending > 0
    }
    return outcomes.map { $0 ?? .init(errno: EIO, detail: "no answer", echo: nil) }
  }

  /// Asks for one object or a dump, and hands every answer's payload to `body`.
  func query(
    type: UInt16, flags: Int32, payload: [UInt8], object: String, _ body: (UInt16, UnsafeRawBufferPointer) -> Void
  ) throws(NetworkError) {
    let number = sequence.wrappingAdd(1, ordering: .relaxed).oldValue
    let isDump = flags & NLM_F_DUMP == NLM_F_DUMP
    var message = nlmsghdr(
      nlmsg_len: UInt32(MemoryLayout<nlmsghdr>.size + payload.count), nlmsg_type: type,
      nlmsg_flags: UInt16(NLM_F_REQUEST | flags | (isDump ? 0 : NLM_F_ACK)), nlmsg_seq: number, nlmsg_pid: 0)
    try transmit(withUnsafeBytes(of: &message) { Array($0) } + payload)
    var failure: NetlinkFailure?
    var interrupted = false
    try receive { header, payload in
      guard header.nlmsg_seq == number else { return true }
      if Int32(header.nlmsg_flags) & NLM_F_DUMP_INTR != 0 { interrupted = true }
      switch Int32(header.nlmsg_type) {
      case NLMSG_DONE:
        // A dump that failed on its way says so here.
        let code = payload.count >= 4 ? payload.loadUnaligned(as: Int32.self) : 0
        if code < 0 { failure = NetlinkFailure(errno: -code, text: "") }
        return false
      case NLMSG_ERROR:
        failure = NetlinkFailure(payload)
        return false
      default:
        body(header.nlmsg_type, payload)
        return true
      }
    }
    if let failure, failure.errno != 0 { throw .kernel("read", failure.errno, object, failure.text) }
    if interrupted { throw .kernel("read", EINTR, object) }
  }

  /// Reads what has come without waiting.
  /// - Returns: false when the kernel had to drop messages (ENOBUFS).
  func drain(_ body: (nlmsghdr, UnsafeRawBufferPointer) -> Void) -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferSize, alignment: 8)
    defer { buffer.deallocate() }
    var isComplete = true
    while true {
      let count = recv(raw, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
      if count < 0 && errno == EINTR { continue }
      if count < 0 && errno == ENOBUFS {
        isComplete = false
        continue
      }
      guard count > 0 else { return isComplete }
      forEachMessage(in: UnsafeRawBufferPointer(rebasing: buffer[..<count])) { header, payload in
        body(header, payload)
        return true
      }
    }
  }

  private static let bufferSize = 64 << 10

  func transmit(_ bytes: [UInt8]) throws(NetworkError) {
    while send(raw, bytes, bytes.count, 0) < 0 {
      if errno != EINTR { throw .kernel("send", errno, "netlink request") }
    }
  }

  /// Reads until `body` returns false. The kernel answers within send, so the wait has a short bound.
  func receive(_ body: (nlmsghdr, UnsafeRawBufferPointer) -> Bool) throws(NetworkError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferSize, alignment: 8)
    defer { buffer.deallocate() }
    while true {
      let count = recv(raw, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
      if count < 0 {
        if errno == EINTR { continue }
        guard errno == EAGAIN else { throw .kernel("receive", errno, "netlink answer") }
        var waiting = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
        guard poll(&waiting, 1, 10_000) != 0 else { throw .kernel("receive", ETIMEDOUT, "netlink answer") }
        continue
      }
      if !forEachMessage(in: UnsafeRawBufferPointer(rebasing: buffer[..<count]), body) { return }
    }
  }

  private func set(_ level: Int32, _ option: Int32, _ value: Int32) -> Bool {
    var value = value
    return setsockopt(descriptor.raw, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
  }
}

extension NetworkError {
  static func kernel(_ step: String, _ errno: Int32, _ object: String, _ detail: String = "") -> NetworkError {
    .kernel(step: step, errno: errno, object: object, detail: detail)
  }
}
