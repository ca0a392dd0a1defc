import Glibc
import LinuxSystem
package import RuntimeModel

/// The directories that hold the specifications of this node's devices. Read when a container asks for a device, so that
/// what is in them then counts.
package struct SpecDirectories: Sendable, Hashable {
  /// Absolute; of two files that have the same device the one in the later directory counts.
  package var paths: [String]

  /// CDI's own.
  package static let standard = SpecDirectories(["/etc/cdi", "/var/run/cdi"])

  /// Bytes of one file, and files of one directory.
  private static let largestFile = 4 << 20
  private static let mostFiles = 1000

  package init(_ paths: [String]) { self.paths = paths }

  /// The edits of some devices together: for each file its own, once, then the device's. Blocks.
  ///
  /// - Parameter devices: in order, without duplicates, each with what the request calls it.
  /// - Throws: `notFound`, `failedPrecondition` or `unimplemented`, naming field, device and file.
  package func edits(of devices: [(field: String, name: DeviceName)]) throws(RuntimeError) -> ContainerEdits {
    guard !devices.isEmpty else { return ContainerEdits() }
    let (specs, broken) = read()
    var edits = ContainerEdits()
    var applied: Set<String> = []
    for (field, name) in devices {
      let found = try find(name, in: specs, field: field, broken: broken)
      if applied.insert(found.file).inserted { edits.append(found.edits) }
      edits.append(found.devices[name.name] ?? ContainerEdits())
      if let refused = edits.refused.first {
        throw RuntimeError(
          .unimplemented,
          "\(field): device \(name): \(found.file) has containerEdits.\(refused), which is not supported")
      }
    }
    return edits
  }

  private func find(
    _ name: DeviceName, in specs: [(DeviceSpec, priority: Int)], field: String, broken: [RuntimeError]
  ) throws(RuntimeError) -> DeviceSpec {
    let candidates = specs.filter {
      $0.0.vendor == name.vendor && $0.0.kindClass == name.kindClass && $0.0.devices[name.name] != nil
    }
    guard let best = candidates.map(\.priority).max() else {
      let place = paths.joined(separator: " and ")
      let hint = broken.isEmpty ? "" : " (not read: \(broken.map(\.message).joined(separator: "; ")))"
      throw RuntimeError(.notFound, "\(field): device \(name) is in no specification in \(place)\(hint)")
    }
    let chosen = candidates.filter { $0.priority == best }
    guard chosen.count == 1 else {
      let files = chosen.map(\.0.file).joined(separator: " and ")
      throw RuntimeError(.failedPrecondition, "\(field): device \(name) is in \(files): which one is meant is unknown")
    }
    return chosen[0].0
  }

  /// A file that is wrong takes no other device away; it is told of when a device is missing.
  private func read() -> (specs: [(DeviceSpec, priority: Int)], broken: [RuntimeError]) {
    var specs: [(DeviceSpec, priority: Int)] = []
    var broken: [RuntimeError] = []
    for (priority, directory) in paths.enumerated() {
      // One more than may be, to see whether there are more.
      let names = fileNames(directory, atMost: Self.mostFiles + 1) { $0.hasSuffix(".json") || $0.hasSuffix(".yaml") }
      guard names.count <= Self.mostFiles else {
        broken.append(Self.failure(directory, "holds more than \(Self.mostFiles) files"))
        continue
      }
      for name in names.sorted() {
        let path = "\(directory)/\(name)"
        do throws(RuntimeError) {
          specs.append((try SpecReader.read(try Self.content(path), file: path), priority))
        } catch {
          broken.append(error)
        }
      }
    }
    return (specs, broken)
  }

  private static func content(_ path: String) throws(RuntimeError) -> [UInt8] {
    // A FIFO does not make us wait.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw failure(path, String(cString: strerror(errno))) }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw failure(path, "is no file") }
    guard status.st_size <= largestFile else { throw failure(path, "is larger than \(largestFile) bytes") }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var done = 0
    while done < bytes.count {
      let wanted = bytes.count - done
      let count = bytes.withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress.map { $0 + done }, wanted) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure(path, String(cString: strerror(errno))) }
      if count == 0 { break }
      done += count
    }
    return Array(bytes[..<done])
  }

  private static func failure(_ path: String, _ reason: String) -> RuntimeError {
    RuntimeError(.failedPrecondition, "\(path): \(reason)")
  }
}
