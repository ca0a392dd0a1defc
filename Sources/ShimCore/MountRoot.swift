import CLinux

/// A container's root directory while it is being furnished. Every path below it goes through here: the kernel keeps
/// resolution inside the root and off magic links, and what comes back is a descriptor.
struct ContainerRoot {
  let descriptor: Int32

  private static let inside = UInt64(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
  private static let strict = UInt64(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)
  private static let mostLinks = 40

  /// What a place to be opened or made has to be.
  enum Kind {
    case directory
    /// A directory that is reached through no symbolic link at all.
    case plainDirectory
    case file
    /// A file that is there, reached through no symbolic link at all.
    case plainFile
  }

  /// An O_PATH descriptor of what is at a path, links inside the root followed, or -errno.
  func find(_ path: UnsafePointer<CChar>?) -> Int32 {
    open(path, UInt64(O_PATH), ContainerRoot.inside)
  }

  /// As `find`, through no symbolic link at all.
  func findPlain(_ path: UnsafePointer<CChar>?) -> Int32 {
    open(path, UInt64(O_PATH), ContainerRoot.strict)
  }

  /// An O_PATH descriptor of a directory that must be there, links inside the root followed.
  func openDirectory(
    _ path: UnsafePointer<CChar>?, _ step: @autoclosure () -> String
  ) throws(StepFailure) -> Int32 {
    try require(open(path, UInt64(O_PATH | O_DIRECTORY), ContainerRoot.inside), step(), on: path)
  }

  /// An O_PATH descriptor of a path; what is missing of it is made (directories 0755, a file 0644).
  func place(
    _ path: UnsafePointer<CChar>?, _ kind: Kind, _ step: @autoclosure () -> String
  ) throws(StepFailure) -> Int32 {
    guard let path, path.pointee == 0x2f else { throw StepFailure(step(), -EINVAL, path) }
    let isPlain = kind == .plainDirectory || kind == .plainFile
    let isDirectory = kind == .directory || kind == .plainDirectory
    let found = open(
      path, UInt64(isDirectory ? O_PATH | O_DIRECTORY : O_PATH), isPlain ? ContainerRoot.strict : ContainerRoot.inside)
    if found != -ENOENT || kind == .plainFile { return try require(found, step(), on: path) }
    if kind == .file {
      let made = makeFile(path)
      if made >= 0 { return made }
    }
    return try require(make(path, kind), step(), on: path)
  }

  /// The usual case of a missing file, that its directory is there, in two calls. Nothing is decided by a failure.
  private func makeFile(_ path: UnsafePointer<CChar>) -> Int32 {
    guard let slash = strrchr(path, 0x2f), slash[1] != 0, slash[1] != 0x2e else { return -EINVAL }
    let parent = terminated(
      UnsafeRawPointer(path).assumingMemoryBound(to: UInt8.self), max(1, UnsafePointer(slash) - path))
    defer { parent.deallocate() }
    let directory = open(parent, UInt64(O_PATH | O_DIRECTORY), ContainerRoot.inside)
    if directory < 0 { return directory }
    defer { _ = close(directory) }
    return clinux_open_at(directory, slash + 1, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
  }

  /// Walks to a path one component at a time and makes what is missing. Symbolic links are expanded here, by text, so
  /// that a dangling one leads to a new directory inside the root; no system call follows any.
  private func make(_ path: UnsafePointer<CChar>, _ kind: Kind) -> Int32 {
    var pending = components(path)
    var resolved: [CChar] = [0]
    var links = 0
    while let name = pending.popLast() {
      if isDots(name) {
        if name.count == 3 { removeLastComponent(&resolved) }
        continue
      }
      var next = resolved
      next.removeLast()
      next.append(0x2f)
      next.append(contentsOf: name)
      let wanted: Kind = pending.isEmpty ? kind : .directory
      let opened = openOrMake(next, below: resolved, name, wanted)
      if opened < 0 { return opened }
      defer { _ = close(opened) }
      var mode: UInt32 = 0
      var device: UInt64 = 0
      _ = clinux_file_kind(opened, &mode, &device)
      switch mode & UInt32(S_IFMT) {
      case UInt32(S_IFLNK):
        links += 1
        if kind == .plainDirectory || links > ContainerRoot.mostLinks { return -ELOOP }
        guard let target = readLink(opened) else { return -ENAMETOOLONG }
        if target[0] == 0x2f { resolved = [0] }
        pending.append(contentsOf: target.withUnsafeBufferPointer { components($0.baseAddress) })
      case UInt32(S_IFDIR):
        resolved = next
      default:
        if !pending.isEmpty || kind != .file { return -ENOTDIR }
        resolved = next
      }
    }
    return open(resolved.count == 1 ? [0x2e, 0] : resolved, UInt64(O_PATH), ContainerRoot.strict)
  }

  /// Opens one name, links not followed; made as a directory or file when it is not there.
  private func openOrMake(_ path: [CChar], below parent: [CChar], _ name: [CChar], _ kind: Kind) -> Int32 {
    for _ in 0..<8 {
      let found = open(path, UInt64(O_PATH | O_NOFOLLOW), ContainerRoot.strict)
      if found != -ENOENT { return found }
      let directory = open(
        parent.count == 1 ? [0x2e, 0] : parent, UInt64(O_PATH | O_DIRECTORY), ContainerRoot.strict)
      if directory < 0 { return directory }
      defer { _ = close(directory) }
      var made: Int32
      if kind == .file {
        made = clinux_open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
        if made >= 0 {
          _ = close(made)
          made = 0
        }
      } else {
        made = clinux_mkdirat(directory, name, 0o755)
      }
      if made < 0, made != -EEXIST { return made }
    }
    return -EAGAIN
  }

  private func open(_ path: UnsafePointer<CChar>?, _ flags: UInt64, _ resolve: UInt64) -> Int32 {
    var result: Int32 = -EAGAIN
    // EAGAIN: a rename or mount elsewhere made the kernel unsure whether ".." stayed inside.
    for _ in 0..<64 where result == -EAGAIN {
      result = clinux_openat2(descriptor, path, flags, 0, resolve)
    }
    return result
  }
}

/// A path's components, terminated each, last first; empty ones left out.
private func components(_ path: UnsafePointer<CChar>?) -> [[CChar]] {
  var all: [[CChar]] = []
  var current: [CChar] = []
  var next = path
  while let pointer = next {
    let character = pointer.pointee
    if character == 0 || character == 0x2f {
      if !current.isEmpty { all.append(current + [0]) }
      current = []
    } else {
      current.append(character)
    }
    next = character == 0 ? nil : pointer + 1
  }
  all.reverse()
  return all
}

/// "." or "..", terminated.
private func isDots(_ name: [CChar]) -> Bool {
  (name.count == 2 && name[0] == 0x2e) || (name.count == 3 && name[0] == 0x2e && name[1] == 0x2e)
}

private func removeLastComponent(_ path: inout [CChar]) {
  while path.count > 1 {
    let removed = path.remove(at: path.count - 2)
    if removed == 0x2f { return }
  }
}

/// The text of the link that a descriptor stands for, terminated; nil when it is too long to be true.
private func readLink(_ link: Int32) -> [CChar]? {
  var text = [CChar](repeating: 0, count: 4096)
  let length = text.withUnsafeMutableBufferPointer { clinux_readlink(link, $0.baseAddress, $0.count - 1) }
  guard length > 0, length < 4095 else { return nil }
  text.removeLast(text.count - Int(length) - 1)
  return text
}
