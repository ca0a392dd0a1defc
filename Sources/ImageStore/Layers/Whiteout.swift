/// What a name with the prefix `.wh.` asks for (OCI image-spec, layer.md, "Whiteouts").
enum Whiteout: Equatable {
  /// Hide this path of the layers below.
  case name(EntryPath)
  /// Hide all that the layers below have in this directory.
  case opaque(EntryPath)
  /// Metadata of aufs, which some images carry.
  case ignored

  private static let prefix = Array(".wh.".utf8)
  private static let metadata = Array(".wh..wh.".utf8)

  /// - Returns: nil for an ordinary name.
  /// - Throws: ``ImageError`` of kind `malformed` for a whiteout of nothing, of `.` or of `..` (ATTACKS.md I04), and for
  ///   entries below a whiteout.
  init?(_ path: EntryPath) throws(ImageError) {
    for above in path.parent.components where above.starts(with: Self.prefix) {
      guard above.starts(with: Self.metadata) else {
        throw ImageError(.malformed, "\(printable(path.bytes)) lies below a whiteout")
      }
      self = .ignored
      return
    }
    guard path.name.starts(with: Self.prefix) else { return nil }
    if path.name.elementsEqual(".wh..wh..opq".utf8) {
      self = .opaque(path.parent)
      return
    }
    if path.name.starts(with: Self.metadata) {
      self = .ignored
      return
    }
    let hidden = path.name.dropFirst(Self.prefix.count)
    guard !hidden.isEmpty, !hidden.elementsEqual(".".utf8), !hidden.elementsEqual("..".utf8) else {
      throw ImageError(.malformed, "\(printable(path.bytes)) is a whiteout of no name")
    }
    self = .name(path.parent.appending(hidden))
  }
}
