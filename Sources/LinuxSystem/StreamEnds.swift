internal import CLinux
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// One side's ends of a process's streams, each until somebody takes it. What nobody takes is closed with the object.
package final class StreamEnds: Sendable {
  /// stdin, stdout, stderr; -1 for what is not here.
  private let ends: Mutex<[Int32]>

  private init(_ ends: [Int32]) { self.ends = Mutex(ends) }

  deinit {
    for end in takeAll() { close(end) }
  }

  /// New pipes for the streams that are asked for, all ends close-on-exec and waiting.
  ///
  /// - Parameter capacity: bytes that stdout and stderr hold each, as far as the node's limits go; nil: the kernel's usual.
  /// - Throws: EMFILE and the like.
  package static func pipes(
    stdin: Bool, stdout: Bool, stderr: Bool, capacity: Int32? = nil
  ) throws(SystemCallError) -> (ours: StreamEnds, theirs: StreamEnds) {
    let (ours, theirs) = (StreamEnds([-1, -1, -1]), StreamEnds([-1, -1, -1]))
    for (index, isWanted) in [stdin, stdout, stderr].enumerated() where isWanted {
      var pipe: [Int32] = [-1, -1]
      try checkedResult("pipe2", "streams") { pipe.withUnsafeMutableBufferPointer { clinux_host_pipe($0.baseAddress) } }
      let (reading, writing) = (pipe[0], pipe[1])
      if let capacity, index > 0 { _ = clinux_host_set_pipe_capacity(writing, capacity) }
      ours.ends.withLock { $0[index] = index == 0 ? writing : reading }
      theirs.ends.withLock { $0[index] = index == 0 ? reading : writing }
    }
    return (ours, theirs)
  }

  /// A terminal's master as what is written to, for `stdin`, and read from.
  ///
  /// - Throws: EMFILE and the like.
  package convenience init(_ master: TerminalMaster, stdin: Bool) throws(SystemCallError) {
    self.init([-1, -1, -1])
    for index in stdin ? [0, 1] : [1] {
      let raw = master.descriptor.raw
      let copy = try checked("dup", "terminal") { fcntl(raw, F_DUPFD_CLOEXEC, 0) }
      ends.withLock { $0[index] = copy }
    }
  }

  /// A second descriptor of stdin's end, which keeps the stream from ending.
  /// - Returns: nil when there is none, or not any more.
  /// - Throws: EMFILE and the like.
  package func copyInput() throws(SystemCallError) -> OwnedFD? {
    try ends.withLock { ends throws(SystemCallError) in
      let raw = ends[0]
      guard raw >= 0 else { return nil }
      return OwnedFD(owning: try checked("dup", "stdin") { fcntl(raw, F_DUPFD_CLOEXEC, 0) })
    }
  }

  /// stdin's end; nil when there is none, or not any more.
  package func takeInput() -> OwnedFD? { take(0) }
  /// stdout's end; a terminal's.
  package func takeOutput() -> OwnedFD? { take(1) }
  /// stderr's end.
  package func takeError() -> OwnedFD? { take(2) }

  /// All that are left, in order; the caller closes them.
  package func takeAll() -> [Int32] {
    ends.withLock { ends in
      defer { ends = [-1, -1, -1] }
      return ends.filter { $0 >= 0 }
    }
  }

  private func take(_ index: Int) -> OwnedFD? {
    let raw = ends.withLock { ends in
      defer { ends[index] = -1 }
      return ends[index]
    }
    return raw >= 0 ? OwnedFD(owning: raw) : nil
  }
}

/// The master of a terminal that another process has made.
package final class TerminalMaster: Sendable {
  package let descriptor: SharedFD

  /// A pair of sockets over which a master comes.
  ///
  /// - Returns: the receiving end, and the other for who makes the terminal; that one is the caller's to give away.
  /// - Throws: EMFILE and the like.
  package static func sockets() throws(SystemCallError) -> (receiving: SharedFD, sending: Int32) {
    var ends: [Int32] = [-1, -1]
    try checkedResult("socketpair", "terminal") {
      ends.withUnsafeMutableBufferPointer { clinux_host_socketpair($0.baseAddress) }
    }
    return (SharedFD(OwnedFD(owning: ends[0])), ends[1])
  }

  /// Takes what has come, without waiting.
  ///
  /// - Returns: nil when the other end is gone without having sent one.
  /// - Throws: EAGAIN when nothing has come.
  package init?(from socket: SharedFD) throws(SystemCallError) {
    var raw: Int32 = -1
    let got = try checkedResult("recvmsg", "terminal") { clinux_host_take_descriptor(socket.raw, &raw) }
    guard got > 0, raw >= 0 else { return nil }
    descriptor = SharedFD(OwnedFD(owning: raw))
  }

  /// - Parameters: columns and rows.
  /// - Throws: EIO once the terminal is gone.
  package func resize(width: UInt16, height: UInt16) throws(SystemCallError) {
    let raw = descriptor.raw
    try checkedResult("TIOCSWINSZ", "terminal") { clinux_host_resize_terminal(raw, width, height) }
  }
}
