internal import CNetlink
internal import Glibc

/// Walks the messages of one datagram. Lengths come from the kernel, and are checked all the same.
/// - Returns: false when `body` asked to stop.
@discardableResult
func forEachMessage(in bytes: UnsafeRawBufferPointer, _ body: (nlmsghdr, UnsafeRawBufferPointer) -> Bool) -> Bool {
  let headerSize = MemoryLayout<nlmsghdr>.size
  var offset = 0
  while bytes.count - offset >= headerSize {
    let header = bytes.loadUnaligned(fromByteOffset: offset, as: nlmsghdr.self)
    let length = Int(header.nlmsg_len)
    guard length >= headerSize, length <= bytes.count - offset else { return true }
    let payload = UnsafeRawBufferPointer(rebasing: bytes[(offset + headerSize)..<(offset + length)])
    if !body(header, payload) { return false }
    offset += (length + 3) & ~3
  }
  return true
}

/// The attributes that follow a message's fixed part, by type (netlink(7), struct nlattr). Valid as long as the bytes.
struct Attributes {
  private var found: [UInt16: UnsafeRawBufferPointer] = [:]

  init(_ bytes: UnsafeRawBufferPointer, after fixedSize: Int = 0) {
    var offset = fixedSize
    while bytes.count - offset >= 4 {
      let length = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
      let type = bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self) & 0x3fff
      guard length >= 4, length <= bytes.count - offset else { return }
      found[type] = UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + length)])
      offset += (length + 3) & ~3
    }
  }

  func bytes(_ type: Int) -> UnsafeRawBufferPointer? { found[UInt16(type)] }

  func uint32(_ type: Int) -> UInt32? {
    bytes(type).flatMap { $0.count >= 4 ? $0.loadUnaligned(as: UInt32.self) : nil }
  }

  /// A number in network order, as netfilter writes them.
  func bigEndian(_ type: Int) -> UInt64? { bytes(type)?.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }

  func uint8(_ type: Int) -> UInt8? { bytes(type)?.first }

  func string(_ type: Int) -> String? {
    bytes(type).map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  func nested(_ type: Int) -> Attributes? { bytes(type).map { Attributes($0) } }
}

/// The elements of an attribute that is a list: several of one type, which `Attributes` would take for one.
func listed(_ bytes: UnsafeRawBufferPointer) -> [UnsafeRawBufferPointer] {
  var found: [UnsafeRawBufferPointer] = []
  var offset = 0
  while bytes.count - offset >= 4 {
    let length = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    guard length >= 4, length <= bytes.count - offset else { break }
    found.append(UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + length)]))
    offset += (length + 3) & ~3
  }
  return found
}

/// What an NLMSG_ERROR says; errno 0 is an acknowledgement.
struct NetlinkFailure {
  var errno: Int32
  var text: String

  init(errno: Int32, text: String) {
    self.errno = errno
    self.text = text
  }

  init(_ payload: UnsafeRawBufferPointer) {
    guard payload.count >= 20 else {
      errno = EIO
      text = "short answer"
      return
    }
    errno = -payload.loadUnaligned(as: Int32.self)
    // With NETLINK_CAP_ACK only the header of the request comes back, then the extended attributes.
    text = errno == 0 ? "" : Attributes(payload, after: 20).string(Int(NLMSGERR_ATTR_MSG.rawValue)) ?? ""
  }
}
