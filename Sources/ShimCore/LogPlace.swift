import CLinux

/// Where a container's log is. The log directory is the client's word; it and everything below it is reached through no
/// symbolic link, since containers with a volume there could plant one (ATTACKS D15).
struct LogPlace {
  let path: String
  /// Absolute; `path` lies below it. Empty: only the file itself must be no link.
  let directory: String

  private static let flags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY

  /// Opens or creates the file, 0640, its directories 0755. Only ever a regular file of one name: a pipe, device or
  /// second name was put there by somebody.
  func open() throws(StepFailure) -> Int32 {
    let file = directory.utf8.isEmpty ? openPath() : openBelow()
    guard file >= 0 else { throw StepFailure(step: "open log", errno: -file, subject: path) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & mode_t(S_IFMT) == mode_t(S_IFREG), status.st_nlink == 1 else {
      _ = close(file)
      throw StepFailure(step: "open log: not a regular file of one name", errno: EINVAL, subject: path)
    }
    return file
  }

  /// As it was asked for by a daemon that names no directory.
  private func openPath() -> Int32 {
    let file = path.withCString { clinux_open($0, LogPlace.flags | O_CLOEXEC, 0o640) }
    guard file == -ENOENT else { return file }
    makeParents(of: path)
    return path.withCString { clinux_open($0, LogPlace.flags | O_CLOEXEC, 0o640) }
  }

  private func openBelow() -> Int32 {
    var place = openDirectory(AT_FDCWD, directory)
    if place == -ENOENT {
      makeParents(of: directory + "/")
      place = openDirectory(AT_FDCWD, directory)
    }
    guard place >= 0 else { return place }
    let names = Array(path.utf8.dropFirst(directory.utf8.count)).split(separator: 0x2f)
    for (index, name) in names.enumerated() {
      let text = String(decoding: name, as: UTF8.self)
      let next = index == names.count - 1 ? openFile(place, text) : openOrMake(place, text)
      _ = close(place)
      place = next
      if place < 0 { break }
    }
    return place
  }

  private func openDirectory(_ at: Int32, _ name: String) -> Int32 {
    name.withCString { clinux_open_at(at, $0, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0) }
  }

  private func openOrMake(_ at: Int32, _ name: String) -> Int32 {
    let found = openDirectory(at, name)
    guard found == -ENOENT else { return found }
    _ = name.withCString { clinux_mkdirat(at, $0, 0o755) }
    return openDirectory(at, name)
  }

  private func openFile(_ at: Int32, _ name: String) -> Int32 {
    name.withCString { clinux_open_at(at, $0, LogPlace.flags, 0o640) }
  }

  private func makeParents(of path: String) {
    var bytes = Array(path.utf8CString)
    for index in bytes.indices.dropFirst() where bytes[index] == 0x2f {
      bytes[index] = 0
      _ = bytes.withUnsafeBufferPointer { $0.baseAddress.map { mkdir($0, 0o755) } }
      bytes[index] = 0x2f
    }
  }
}
