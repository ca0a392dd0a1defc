import Glibc
import LinuxSystem

/// Removes entries of any depth with two descriptors and no recursion: a directory that is not empty moves up into a
/// scratch directory first, so that a hostile depth costs nothing.
struct TreeRemoval {
  private let scratch: SharedFD
  private let cancellation: CancellationFlag?
  private var next: UInt64

  /// - Parameters:
  ///   - scratch: a private directory on the same filesystem as what is removed; names `gone-…` in it are ours.
  ///   - cancellation: looked at between entries; what is left then lies in `scratch`.
  init(scratch: SharedFD, cancellation: CancellationFlag? = nil) {
    self.scratch = scratch
    self.cancellation = cancellation
    next = UInt64.random(in: 0...UInt64.max >> 1)
  }

  /// Removes `name` with all below it. Success when there is none.
  ///
  /// - Throws: ``ImageError`` of kind `system`; `CancellationError`.
  mutating func remove(_ name: some Collection<UInt8>, in directory: SharedFD) throws {
    guard let aside = try detach(Array(name), in: directory) else { return }
    try drain(aside)
  }

  /// Removes `name` if that is one call, else moves it aside.
  ///
  /// - Returns: its new name in `scratch`; nil when it is gone.
  private mutating func detach(_ name: [UInt8], in directory: SharedFD) throws(ImageError) -> [UInt8]? {
    let unlinked = withCString(name) { unlinkat(directory.raw, $0, 0) == 0 ? 0 : errno }
    if unlinked == 0 || unlinked == ENOENT { return nil }
    guard unlinked == EISDIR || unlinked == EPERM else { throw ImageError.call("unlink", printable(name), unlinked) }
    let removed = withCString(name) { unlinkat(directory.raw, $0, AT_REMOVEDIR) == 0 ? 0 : errno }
    if removed == 0 || removed == ENOENT { return nil }
    guard removed == ENOTEMPTY || removed == EEXIST else { throw ImageError.call("rmdir", printable(name), removed) }

    next += 1
    let aside = Array("gone-\(next)".utf8)
    let moved = withCString(name) { old in
      withCString(aside) { new in renameat(directory.raw, old, scratch.raw, new) == 0 ? 0 : errno }
    }
    guard moved == 0 else { throw ImageError.call("rename", printable(name), moved) }
    return aside
  }

  private mutating func drain(_ first: [UInt8]) throws {
    var waiting = [first]
    while let name = waiting.popLast() {
      while true {
        waiting += try empty(name)
        let removed = withCString(name) { unlinkat(scratch.raw, $0, AT_REMOVEDIR) == 0 ? 0 : errno }
        if removed == 0 || removed == ENOENT { break }
        // A directory that changes under readdir(3) may hide an entry from it: look again.
        guard removed == ENOTEMPTY || removed == EEXIST else {
          throw ImageError.call("rmdir", printable(name), removed)
        }
      }
    }
  }

  private mutating func empty(_ name: [UInt8]) throws -> [[UInt8]] {
    guard case .success(let directory) = openAt(scratch, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { return [] }
    var aside: [[UInt8]] = []
    for entry in try entries(of: directory) {
      try cancellation?.check()
      if let moved = try detach(entry, in: directory) { aside.append(moved) }
    }
    return aside
  }
}

/// The names in a directory, but for `.` and `..`.
func entries(of directory: SharedFD) throws(ImageError) -> [[UInt8]] {
  let copy = openat(directory.raw, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard copy >= 0 else { throw ImageError.call("open", "a directory", errno) }
  guard let stream = fdopendir(copy) else {
    let number = errno
    close(copy)
    throw ImageError.call("read", "a directory", number)
  }
  defer { closedir(stream) }
  var names: [[UInt8]] = []
  while true {
    errno = 0
    guard let entry = readdir(stream) else {
      guard errno == 0 else { throw ImageError.call("read", "a directory", errno) }
      return names
    }
    let offset = MemoryLayout<dirent>.offset(of: \dirent.d_name) ?? 0
    let text = UnsafeRawPointer(entry).advanced(by: offset).assumingMemoryBound(to: UInt8.self)
    var name: [UInt8] = []
    var index = 0
    while text[index] != 0 {
      name.append(text[index])
      index += 1
    }
    if name != Array(".".utf8), name != Array("..".utf8) { names.append(name) }
  }
}
