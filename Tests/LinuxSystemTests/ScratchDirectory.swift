import Glibc
import LinuxSystem
import SystemPackage
import Testing

/// A directory of the test's own, gone with it.
final class ScratchDirectory {
  let path: String

  init(in parent: String = "/tmp") throws {
    var template = Array("\(parent)/swiftlet-system-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { buffer in
      buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
    }
    path = try #require(made)
  }

  func write(_ name: String, _ text: String = "") throws {
    let file = try OwnedFD.open("\(path)/\(name)", flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    file.withRawDescriptor { raw in
      _ = Glibc.write(raw, text, text.utf8.count)
    }
  }

  func read(_ name: String) throws -> String {
    String(decoding: try readSmallFile("\(path)/\(name)", limit: 1 << 20), as: UTF8.self)
  }

  deinit {
    guard let slash = path.lastIndex(of: "/") else { return }
    try? RootHandle.open(path: String(path[..<slash])).remove(String(path[path.index(after: slash)...]))
  }
}

func errno(of body: () throws -> Void) -> Int32? {
  do {
    try body()
    return nil
  } catch {
    let cause = (error as? LimitError)?.cause ?? error as? SystemCallError
    return cause?.errno.rawValue
  }
}
