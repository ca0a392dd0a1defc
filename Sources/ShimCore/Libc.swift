import CLinux

/// The name of an errno, for example ENOENT.
func errorName(_ number: Int32) -> String {
  guard let name = strerrorname_np(number) else { return "errno \(number)" }
  return String(cString: name)
}

/// A C string of a message; empty when absent.
func text(_ pointer: UnsafePointer<CChar>?) -> String {
  guard let pointer else { return "" }
  return String(cString: pointer)
}

/// Whether a C string of a message is there and not empty.
func isSet(_ pointer: UnsafePointer<CChar>?) -> Bool {
  guard let pointer else { return false }
  return pointer.pointee != 0
}

/// Nanoseconds since 1970.
func wallClock() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Nanoseconds of a clock that never jumps, for deadlines.
func monotonicClock() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

extension String {
  /// Byte by byte: Unicode equality would bring its tables into every shim.
  func matches(_ other: UnsafePointer<CChar>?) -> Bool {
    guard let other else { return utf8.isEmpty }
    return withCString { strcmp($0, other) == 0 }
  }

  func matches(_ other: String) -> Bool {
    other.withCString { matches($0) }
  }
}

/// Closes and forgets a descriptor; -1 stays -1.
func closeAndForget(_ descriptor: inout Int32) {
  if descriptor >= 0 { _ = close(descriptor) }
  descriptor = -1
}

/// Reads a small file of the kernel's (procfs, cgroupfs) whole, up to `limit` bytes.
func readSmallFile(_ path: String, limit: Int = 4096) -> [UInt8]? {
  let file = path.withCString { clinux_open($0, O_RDONLY | O_CLOEXEC, 0) }
  guard file >= 0 else { return nil }
  defer { _ = close(file) }
  var content: [UInt8] = []
  while content.count < limit {
    let had = content.count
    let wanted = min(1024, limit - had)
    content.append(contentsOf: repeatElement(0, count: wanted))
    let got = content.withUnsafeMutableBytes { buffer in
      buffer.baseAddress.map { read(file, $0 + had, wanted) } ?? -1
    }
    content.removeLast(wanted - max(0, got))
    if got <= 0 { return got == 0 || had > 0 ? content : nil }
  }
  return content
}

/// Writes a kernel file in one call.
func writeKernelFile(_ path: String, _ value: String) -> Bool {
  let file = path.withCString { clinux_open($0, O_WRONLY | O_CLOEXEC, 0) }
  guard file >= 0 else { return false }
  defer { _ = close(file) }
  return value.withCString { write(file, $0, strlen($0)) } >= 0
}

/// The name of what readdir found.
func entryName(_ entry: UnsafeMutablePointer<dirent>) -> String {
  withUnsafePointer(to: &entry.pointee.d_name) {
    String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
  }
}
