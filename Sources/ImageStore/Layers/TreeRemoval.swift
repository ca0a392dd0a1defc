import Glibc
import LinuxSystem

/// Removes entries of any depth and number with two descriptors, no recursion and no list: a directory that is not empty
/// moves up into a scratch directory first, under the next number, so that neither a hostile depth nor a hostile number
/// of names costs memory.
struct TreeRemoval {
  private let scratch: SharedFD
  private let cancellation: CancellationFlag?
  /// Of the last directory that was moved aside.
  private var last: UInt64

  /// - Parameters:
  ///   - scratch: a private directory on the same filesystem as what is removed; names `gone-…` in it are ours.
  ///   - cancellation: looked at between entries; what is left then lies in `scratch`.
  init(scratch: SharedFD, cancellation: CancellationFlag? = nil) {
    self.scratch = scratch
    self.cancellation = cancellation
    last = UInt64.random(in: 0...UInt64.max >> 1)
  }

  /// Removes `name` with all below it. Success when there is none.
  ///
  /// - Throws: ``ImageError`` of kind `system`; `CancellationError`.
  mutating func remove(_ name: some Collection<UInt8>, in directory: SharedFD) throws {
    var number = last + 1
    try detach(Array(name), in: directory)
    while number <= last {
      try drain(Self.aside(number))
      number += 1
    }
  }

  private static func aside(_ number: UInt64) -> [UInt8] { Array("gone-\(number)".utf8) }

  /// Removes `name` if that is one call, else moves it aside.
  private mutating func detach(_ name: [UInt8], in directory: SharedFD) throws(ImageError) {
    let unlinked = withCString(name) { unlinkat(directory.raw, $0, 0) == 0 ? 0 : errno }
    if unlinked == 0 || unlinked == ENOENT { return }
    guard unlinked == EISDIR || unlinked == EPERM else { throw ImageError.call("unlink", printable(name), unlinked) }
    let removed = withCString(name) { unlinkat(directory.raw, $0, AT_REMOVEDIR) == 0 ? 0 : errno }
    if removed == 0 || removed == ENOENT { return }
    guard removed == ENOTEMPTY || removed == EEXIST else { throw ImageError.call("rmdir", printable(name), removed) }

    last += 1
    let moved = withCString(name) { old in
      withCString(Self.aside(last)) { new in renameat(directory.raw, old, scratch.raw, new) == 0 ? 0 : errno }
    }
    guard moved == 0 else { throw ImageError.call("rename", printable(name), moved) }
  }

  private mutating func drain(_ name: [UInt8]) throws {
    while true {
      try empty(name)
      let removed = withCString(name) { unlinkat(scratch.raw, $0, AT_REMOVEDIR) == 0 ? 0 : errno }
      if removed == 0 || removed == ENOENT { return }
      // A directory that changes under readdir(3) may hide an entry from it: look again.
      guard removed == ENOTEMPTY || removed == EEXIST else {
        throw ImageError.call("rmdir", printable(name), removed)
      }
    }
  }

  private mutating func empty(_ name: [UInt8]) throws {
    guard case .success(let directory) = openAt(scratch, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { return }
    try forEachEntry(of: directory) { entry in
      try cancellation?.check()
      try detach(entry, in: directory)
    }
  }
}

/// The names in a directory, but for `.` and `..`; for directories of ours.
func entries(of directory: SharedFD) throws(ImageError) -> [[UInt8]] {
  var names: [[UInt8]] = []
  do {
    try forEachEntry(of: directory) { names.append($0) }
  } catch {
    throw error as? ImageError ?? ImageError(.system, "read a directory: \(error)")
  }
  return names
}

/// Calls back with each name in a directory, but for `.` and `..`, as it is read: who filled the directory decides how
/// many there are. `body` may remove what it is given.
func forEachEntry(of directory: SharedFD, _ body: ([UInt8]) throws -> Void) throws {
  let copy = openat(directory.raw, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard copy >= 0 else { throw ImageError.call("open", "a directory", errno) }
  guard let stream = fdopendir(copy) else {
    let number = errno
    close(copy)
    throw ImageError.call("read", "a directory", number)
  }
  defer { closedir(stream) }
  while true {
    errno = 0
    guard let entry = readdir(stream) else {
      guard errno == 0 else { throw ImageError.call("read", "a directory", errno) }
      return
    }
    let offset = MemoryLayout<dirent>.offset(of: \dirent.d_name) ?? 0
    let text = UnsafeRawPointer(entry).advanced(by: offset)
    let length = strlen(text.assumingMemoryBound(to: CChar.self))
    let name = Array(UnsafeRawBufferPointer(start: text, count: length))
    if name != Array(".".utf8), name != Array("..".utf8) { try body(name) }
  }
}
