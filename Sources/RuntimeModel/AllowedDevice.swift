/// A device node that a container may use beside the defaults, as its record keeps it.
package struct AllowedDevice: Sendable, Hashable, Codable {
  package enum Kind: String, Sendable, Codable {
    case character = "c"
    case block = "b"
  }

  package var kind: Kind
  package var major: UInt32
  /// nil: every minor number.
  package var minor: UInt32?
  /// A subset of `rwm`: read, write, mknod.
  package var access: String

  package init(kind: Kind, major: UInt32, minor: UInt32?, access: String) {
    self.kind = kind
    self.major = major
    self.minor = minor
    self.access = access
  }
}
