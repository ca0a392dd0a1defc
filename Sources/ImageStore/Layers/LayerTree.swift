import Glibc
import LinuxSystem

/// A directory of the layer that is being written, and where it truly is: no component of its path is a link.
struct LayerPlace {
  let file: SharedFD
  let path: EntryPath
}

/// Finds and makes directories of one layer, looking through to the layers below where this one says nothing.
///
/// Links that an image holds are followed here and nowhere else, by words: a target is a list of components that starts
/// over at the layer's own root, so that no target leads out of it (ATTACKS.md V1, I01).
struct LayerTree {
  let root: SharedFD
  /// The layers below as one read-only tree; nil for the first layer.
  let lower: SharedFD?
  private let limits: ImageLimits

  /// Directories whose content below is hidden; paths are true ones.
  private(set) var opaque: Set<EntryPath> = []
  private(set) var isRootOpaque = false
  /// The parent of the entry before, most often that of the next one too.
  private var last: (asked: EntryPath, place: LayerPlace)?
  /// Components walked the slow way, and marks looked at: bounded, since an image chooses them.
  private var steps = 0
  /// What directories' times shall be in the end.
  private(set) var times: [EntryPath: EntryTimes] = [:]
  /// Bytes of all paths that were ever kept here: an image chooses how long they are.
  private var pathBytes = 0
  /// Directories made without an entry of their own.
  private(set) var implicit: UInt64 = 0

  init(root: SharedFD, lower: SharedFD?, limits: ImageLimits) {
    self.root = root
    self.lower = lower
    self.limits = limits
  }

  /// The directory at `path`, made with all above it if it is missing.
  ///
  /// - Throws: ``ImageError``: `malformed` when something else is in the way, `limit`, `system`, `noSpace`.
  mutating func directory(_ path: EntryPath) throws(ImageError) -> LayerPlace {
    guard let place = try find(path, create: true) else {
      throw ImageError(.malformed, "no directory \(printable(path.bytes))")
    }
    return place
  }

  /// The directory at `path` if this layer has it.
  mutating func existingDirectory(_ path: EntryPath) throws(ImageError) -> LayerPlace? {
    try find(path, create: false)
  }

  /// Keeps times for a directory until nothing is added to it any more.
  ///
  /// - Throws: ``ImageError`` of kind `limit`.
  mutating func remember(_ path: EntryPath, _ entry: EntryTimes) throws(ImageError) {
    if times.updateValue(entry, forKey: path) == nil { try keep(path) }
    guard times.count <= limits.directories else {
      throw ImageError(.limit, "more than \(limits.directories) directories")
    }
  }

  private mutating func keep(_ path: EntryPath) throws(ImageError) {
    pathBytes += path.bytes.count
    guard pathBytes <= limits.pathBytes else {
      throw ImageError(.limit, "the names of its directories are longer than \(limits.pathBytes) bytes together")
    }
  }

  /// Must be called after a directory or link was removed: what was found before may be elsewhere now.
  mutating func removed(_ path: EntryPath) throws(ImageError) {
    last = nil
    try spend(opaque.count + times.count)
    opaque = opaque.filter { !path.contains($0) }
    times = times.filter { !path.contains($0.key) }
  }

  /// Hides what the layers below have in `place`. Asked again it costs nothing (I05).
  mutating func makeOpaque(_ place: LayerPlace) throws(ImageError) {
    guard lower != nil else { return }
    if place.path.isRoot {
      isRootOpaque = true
      return
    }
    guard !opaque.contains(place.path) else { return }
    try keep(place.path)
    try setAttribute(overlayOpaque, Array("y".utf8), of: place.file, path: place.path)
    opaque.insert(place.path)
  }

  /// What the layers below have at `path`, opened O_PATH and not followed; nil when nothing or when it is hidden.
  func below(_ path: EntryPath) throws(ImageError) -> SharedFD? {
    guard let lower, !isHidden(path) else { return nil }
    let flags = OpenFlag.path | O_NOFOLLOW
    switch openAt(lower, path.bytes, flags) {
    case .success(let file): return file
    case .failure(let failure):
      if [ENOENT, ENOTDIR, ELOOP].contains(failure.errno) { return nil }
      throw ImageError.call("open in lower layers", printable(path.bytes), failure.errno)
    }
  }

  private func isHidden(_ path: EntryPath) -> Bool {
    if isRootOpaque { return true }
    if opaque.isEmpty { return false }
    var above = path
    while !above.isRoot {
      above = above.parent
      if opaque.contains(above) { return true }
    }
    return false
  }

  private mutating func spend(_ count: Int) throws(ImageError) {
    steps += count
    guard steps <= limits.resolutionSteps else {
      throw ImageError(.limit, "more than \(limits.resolutionSteps) steps to find the layer's directories")
    }
  }
}

// MARK: - Walking

extension LayerTree {
  private mutating func find(_ path: EntryPath, create: Bool) throws(ImageError) -> LayerPlace? {
    if let last, last.asked == path { return last.place }
    if path.isRoot { return LayerPlace(file: root, path: .root) }
    let place: LayerPlace
    // Most often all of it is there and no link is on the way: one call.
    if case .success(let file) = openAt(root, path.bytes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) {
      place = LayerPlace(file: file, path: path)
    } else {
      guard let walked = try walk(path, create: create) else { return nil }
      place = walked
    }
    last = (path, place)
    return place
  }

  private mutating func walk(_ path: EntryPath, create: Bool) throws(ImageError) -> LayerPlace? {
    var waiting: [[UInt8]] = path.components.reversed().map(Array.init)
    var place = LayerPlace(file: root, path: .root)
    var links = 0
    while let name = waiting.popLast() {
      try spend(1)
      if name.elementsEqual("..".utf8) {
        place = try reopen(place.path.parent)
        continue
      }
      switch try step(name, from: place, create: create) {
      case .place(let next): place = next
      case .nothing: return nil
      case .link(let target):
        links += 1
        guard links <= 40, target.count <= limits.nameBytes else {
          throw ImageError(.malformed, "too many links on the way to \(printable(path.bytes))")
        }
        if target.first == UInt8(ascii: "/") { place = LayerPlace(file: root, path: .root) }
        let words = target.split(separator: UInt8(ascii: "/")).filter { !$0.elementsEqual(".".utf8) }
        waiting += words.reversed().map(Array.init)
      }
    }
    return place
  }

  private enum Step {
    case place(LayerPlace)
    case link([UInt8])
    case nothing
  }

  private mutating func step(
    _ name: [UInt8], from place: LayerPlace, create: Bool
  ) throws(ImageError) -> Step {
    let path = place.path.appending(name)
    guard let found = try status(name, in: place.file) else {
      if let file = try below(path) {
        let kind = try status(of: file)
        if kind.isSymlink { return .link(try linkTarget([], in: file)) }
        if kind.isDirectory {
          return create ? .place(try makeDirectory(name, in: place, like: (file, kind))) : .nothing
        }
      }
      return create ? .place(try makeDirectory(name, in: place, like: nil)) : .nothing
    }
    if found.isDirectory { return .place(LayerPlace(file: try openDirectory(name, in: place.file), path: path)) }
    if found.isSymlink { return .link(try linkTarget(name, in: place.file)) }
    guard found.isWhiteout, create else {
      if !create { return .nothing }
      throw ImageError(.malformed, "\(printable(path.bytes)) is not a directory and has entries below it")
    }
    // Removed by this layer and made again: the new one shows nothing of the old.
    let unlinked = withCString(name) { unlinkat(place.file.raw, $0, 0) == 0 ? 0 : errno }
    guard unlinked == 0 else { throw ImageError.call("unlink", printable(path.bytes), unlinked) }
    let made = try makeDirectory(name, in: place, like: nil)
    try makeOpaque(made)
    return .place(made)
  }

  private func reopen(_ path: EntryPath) throws(ImageError) -> LayerPlace {
    if path.isRoot { return LayerPlace(file: root, path: .root) }
    switch openAt(root, path.bytes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) {
    case .success(let file): return LayerPlace(file: file, path: path)
    case .failure(let failure): throw ImageError.call("open", printable(path.bytes), failure.errno)
    }
  }

  /// A directory that has entries and no entry of its own: as below, else root's with mode 0755.
  private mutating func makeDirectory(
    _ name: [UInt8], in place: LayerPlace, like below: (file: SharedFD, status: stat)?
  ) throws(ImageError) -> LayerPlace {
    let path = place.path.appending(name)
    let made = withCString(name) { mkdirat(place.file.raw, $0, 0o700) == 0 ? 0 : errno }
    guard made == 0 else { throw nameError("mkdir", path, made) }
    implicit += 1
    let file = try openDirectory(name, in: place.file)
    var attributes = EntryAttributes(uid: 0, gid: 0, mode: 0o755)
    if let below {
      attributes = EntryAttributes(
        uid: below.status.st_uid, gid: below.status.st_gid, mode: below.status.st_mode & 0o7777)
      attributes.extended = try copiedAttributes(of: below.file)
      try remember(path, EntryTimes(accessed: below.status.st_atim, modified: below.status.st_mtim))
    }
    try attributes.apply(to: file, path: path)
    return LayerPlace(file: file, path: path)
  }
}

/// Opens a directory right below `directory`, never through a link.
func openDirectory(_ name: some Collection<UInt8>, in directory: SharedFD) throws(ImageError) -> SharedFD {
  switch openAt(directory, Array(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW) {
  case .success(let file): return file
  case .failure(let failure): throw ImageError.call("open", printable(name), failure.errno)
  }
}

/// A failed call on a name that the image chose: too long a name is the image's fault.
func nameError(_ call: String, _ path: EntryPath, _ number: Int32) -> ImageError {
  if number == ENAMETOOLONG {
    return ImageError(.malformed, "a name of \(path.name.count) bytes in \(printable(path.bytes)): 255 are possible")
  }
  return ImageError.call(call, printable(path.bytes), number)
}
