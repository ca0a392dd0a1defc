internal import CNetlink
internal import Glibc
internal import Synchronization

/// The payload of one nfnetlink message: what libnl-3 has no types for. Attributes are in network order.
struct NetfilterMessage {
  private(set) var bytes: [UInt8]

  /// - Parameter resource: res_id of struct nfgenmsg.
  init(family: UInt8, resource: UInt16 = 0) {
    bytes = [family, UInt8(NFNETLINK_V0), UInt8(resource >> 8), UInt8(resource & 0xff)]
  }

  mutating func add(_ type: UInt32, _ value: [UInt8]) { append(UInt16(type), value) }

  mutating func add(_ type: UInt32, _ text: String) { append(UInt16(type), Array(text.utf8) + [0]) }

  mutating func nest(_ type: UInt32, _ body: (inout NetfilterMessage) -> Void) {
    var inner = NetfilterMessage(family: 0)
    inner.bytes = []
    body(&inner)
    append(UInt16(type) | 1 << 15, inner.bytes)  // NLA_F_NESTED
  }

  private mutating func append(_ type: UInt16, _ value: [UInt8]) {
    withUnsafeBytes(of: (UInt16(4 + value.count), type)) { bytes += $0 }
    bytes += value
    bytes += repeatElement(0, count: -value.count & 3)
  }
}

/// Changes of elements of our sets and maps, in one netfilter transaction of 20 us, where libnftables, which reads all
/// tables first, takes milliseconds (NETWORK.md D5).
struct ElementBatch {
  struct Element: Sendable, Hashable {
    var set: String
    /// Each field of a concatenation fills whole words of four bytes.
    var key: [UInt8]
    /// nil for an element of a set.
    var value: [UInt8]?
  }

  /// Bytes of elements in one message: an attribute's length is 16 bits.
  private static let limit = 32 << 10

  private(set) var messages: [(type: UInt16, payload: [UInt8])] = []
  let table: String

  init(table: String) { self.table = table }

  mutating func add(_ elements: [Element]) { append(UInt16(NFT_MSG_NEWSETELEM.rawValue), elements) }

  mutating func remove(_ elements: [Element]) { append(UInt16(NFT_MSG_DELSETELEM.rawValue), elements) }

  private mutating func append(_ type: UInt16, _ elements: [Element]) {
    for (set, mine) in Dictionary(grouping: elements, by: \.set).sorted(by: { $0.key < $1.key }) {
      let perMessage = max(1, Self.limit / 64)
      for part in stride(from: 0, to: mine.count, by: perMessage) {
        var message = NetfilterMessage(family: UInt8(NFPROTO_INET))
        message.add(NFTA_SET_ELEM_LIST_TABLE.rawValue, table)
        message.add(NFTA_SET_ELEM_LIST_SET.rawValue, set)
        message.nest(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) { list in
          for element in mine[part..<min(part + perMessage, mine.count)] {
            list.nest(NFTA_LIST_ELEM.rawValue) { Self.put(element, into: &$0) }
          }
        }
        messages.append((type, message.bytes))
      }
    }
  }

  private static func put(_ element: Element, into message: inout NetfilterMessage) {
    message.nest(NFTA_SET_ELEM_KEY.rawValue) { $0.add(NFTA_DATA_VALUE.rawValue, element.key) }
    if let value = element.value {
      message.nest(NFTA_SET_ELEM_DATA.rawValue) { $0.add(NFTA_DATA_VALUE.rawValue, value) }
    }
  }
}

extension NetlinkSocket {
  /// All of the batch takes effect or nothing.
  /// - Throws: the first refusal of the kernel.
  func transact(_ batch: ElementBatch) throws(NetworkError) {
    guard !batch.messages.isEmpty else { return }
    let count = UInt32(batch.messages.count) + 2
    let first = sequence.wrappingAdd(count, ordering: .relaxed).oldValue
    let frame = NetfilterMessage(family: UInt8(AF_UNSPEC), resource: UInt16(NFNL_SUBSYS_NFTABLES)).bytes
    var bytes = Self.message(UInt16(NFNL_MSG_BATCH_BEGIN), 0, first, frame)
    for (index, message) in batch.messages.enumerated() {
      let type = UInt16(NFNL_SUBSYS_NFTABLES) << 8 | message.type
      let isNew = message.type == UInt16(NFT_MSG_NEWSETELEM.rawValue)
      let flags = NLM_F_ACK | (isNew ? NLM_F_CREATE : 0)
      bytes += Self.message(type, flags, first &+ UInt32(index) &+ 1, message.payload)
    }
    bytes += Self.message(UInt16(NFNL_MSG_BATCH_END), 0, first &+ count &- 1, frame)
    try transmit(bytes)
    var failure: NetlinkFailure?
    var pending = batch.messages.count
    try receive { header, payload in
      guard header.nlmsg_seq &- first < count, Int32(header.nlmsg_type) == NLMSG_ERROR else { return true }
      let answer = NetlinkFailure(payload)
      if answer.errno != 0 && failure == nil { failure = answer }
      // The frame itself is answered only when it is refused, and then nothing else is.
      if header.nlmsg_seq == first { return false }
      pending -= 1
      return pending > 0
    }
    if let failure { throw .kernel("change elements of", failure.errno, batch.table, failure.text) }
  }

  private static func message(_ type: UInt16, _ flags: Int32, _ number: UInt32, _ payload: [UInt8]) -> [UInt8] {
    var header = nlmsghdr(
      nlmsg_len: UInt32(MemoryLayout<nlmsghdr>.size + payload.count), nlmsg_type: type,
      nlmsg_flags: UInt16(NLM_F_REQUEST | flags), nlmsg_seq: number, nlmsg_pid: 0)
    return withUnsafeBytes(of: &header) { Array($0) } + payload + [UInt8](repeating: 0, count: -payload.count & 3)
  }
}
