/// One entry of a tar, as the parser understood it. Nothing in it is trusted.
struct TarEntry {
  enum Kind: Equatable {
    case file, directory, symlink, hardLink, fifo
    case characterDevice, blockDevice
  }

  struct Time: Equatable {
    var seconds: Int64
    var nanoseconds: Int64
  }

  var kind: Kind
  /// As spelled; may be anything.
  var name: [UInt8]
  /// Of a symlink or hard link.
  var target: [UInt8] = []
  /// The low 12 bits.
  var mode: UInt32 = 0
  var uid: Int64 = 0
  var gid: Int64 = 0
  var size: Int64 = 0
  var major: Int64 = 0
  var minor: Int64 = 0
  var modified: Time?
  var accessed: Time?
  var attributes: [(name: String, value: [UInt8])] = []
}
