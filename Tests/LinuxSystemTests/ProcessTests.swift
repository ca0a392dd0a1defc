import Glibc
import LinuxSystem
import RuntimeModel
import Synchronization
import SystemPackage
import Testing

struct ProcessTests {
  private let exits = Result { try ExitWatcher() }

  private func spawn(
    _ script: String, descriptors: [(source: Int32, target: Int32)] = [], environment: [String] = [],
    newSession: Bool = false
  ) throws -> SpawnedProcess {
    try spawnProcess(
      path: "/bin/sh", arguments: ["sh", "-c", script], environment: environment, descriptors: descriptors, cgroup: nil,
      newSession: newSession)
  }

  /// Runs the script with its standard output to us.
  private func output(
    _ script: String, environment: [String] = [], newSession: Bool = false, target: Int32 = 1
  ) throws -> String {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let reader = OwnedFD(owning: ends[0])
    let process: SpawnedProcess
    do {
      let writer = OwnedFD(owning: ends[1])
      process = try writer.withRawDescriptor { raw in
        try spawn(script, descriptors: [(raw, target)], environment: environment, newSession: newSession)
      }
    }
    var text = ""
    reader.withRawDescriptor { raw in
      var buffer = [UInt8](repeating: 0, count: 4096)
      while case let count = read(raw, &buffer, buffer.count), count > 0 {
        text += String(decoding: buffer.prefix(count), as: UTF8.self)
      }
    }
    var entry = pollfd(fd: process.pidfd.withRawDescriptor { $0 }, events: Int16(POLLIN), revents: 0)
    #expect(poll(&entry, 1, 60_000) == 1)
    #expect(try process.pidfd.reap() != nil)
    return text
  }

  @Test func `exit codes and signals come back`() async throws {
    let process = try spawn("exit 7")
    try await exits.get().exit(of: process.pidfd)
    let hasExited = process.pidfd.hasExited()
    #expect(hasExited)
    #expect(try process.pidfd.reap() == .exited(code: 7))
    #expect(errno { _ = try process.pidfd.reap() } == ECHILD)
    #expect(errno { try process.pidfd.send(signal: SIGTERM) } == ESRCH)
    let sleeper = try spawn("exec sleep 100")
    let isRunning = !sleeper.pidfd.hasExited()
    #expect(isRunning)
    #expect(try sleeper.pidfd.reap() == nil)
    try sleeper.pidfd.send(signal: SIGKILL)
    try await exits.get().exit(of: sleeper.pidfd)
    #expect(try sleeper.pidfd.reap() == .killed(signal: SIGKILL))
  }

  @Test func `a program that cannot start names the step`() {
    let error = #expect(throws: SystemCallError.self) {
      _ = try spawnProcess(
        path: "/no/such/program", arguments: ["x"], environment: [], descriptors: [], cgroup: nil, newSession: false)
    }
    #expect(error?.call == "execve")
    #expect(error?.errno.rawValue == ENOENT)
    #expect(error?.subject == "/no/such/program")
    #expect(
      errno {
        _ = try spawnProcess(
          path: "/bin/true", arguments: ["a\0b"], environment: [], descriptors: [], cgroup: nil, newSession: false)
      } == EINVAL)
    #expect(
      errno {
        _ = try spawnProcess(
          path: "/bin/true", arguments: ["true"], environment: [], descriptors: [(source: 9999, target: 3)],
          cgroup: nil,
          newSession: false)
      } == EBADF)
  }

  @Test func `a program has the environment and the descriptors given, and no others`() throws {
    let inherited = open("/etc/passwd", O_RDONLY)  // on purpose not close-on-exec
    defer { close(inherited) }
    #expect(try output("echo \"$A,$HOME\"", environment: ["A=b c", "HOME=/x"]) == "b c,/x\n")
    let names = try output("ls /proc/self/fd").split(separator: "\n").map(String.init)
    // The fourth is ls's own.
    #expect(names == ["0", "1", "2", "3"])
    #expect(try output("readlink /proc/self/fd/0 /proc/self/fd/2") == "/dev/null\n/dev/null\n")
    #expect(try output("echo here >&7", target: 7) == "here\n")
  }

  @Test func `descriptors that swap numbers arrive unharmed`() throws {
    let scratch = try ScratchDirectory()
    try scratch.write("a", "A")
    try scratch.write("b", "B")
    let a = open("\(scratch.path)/a", O_RDONLY | O_CLOEXEC)
    let b = open("\(scratch.path)/b", O_RDONLY | O_CLOEXEC)
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    defer { for end in [a, b, ends[0]] { close(end) } }
    let process = try spawn(
      "cat /proc/self/fd/\(a); cat /proc/self/fd/\(b)", descriptors: [(a, b), (b, a), (ends[1], 1)])
    close(ends[1])
    var buffer = [UInt8](repeating: 0, count: 16)
    var text = ""
    while case let count = read(ends[0], &buffer, buffer.count), count > 0 {
      text += String(decoding: buffer.prefix(count), as: UTF8.self)
    }
    #expect(text == "BA")
    _ = try process.pidfd.reap()
  }

  @Test func `signals are default and unblocked, whatever the daemon did`() throws {
    signal(SIGUSR1, SIG_IGN)
    defer { signal(SIGUSR1, SIG_DFL) }
    let lines = try output("exec cat /proc/self/status").split(separator: "\n").filter {
      $0.hasPrefix("SigBlk") || $0.hasPrefix("SigIgn")
    }
    #expect(lines.count == 2)
    for line in lines { #expect(line.hasSuffix("\t0000000000000000"), "\(line)") }
  }

  @Test func `a session of its own on request`() throws {
    let fields = try output("cut -d' ' -f6 /proc/self/stat; echo $$", newSession: true).split(separator: "\n")
    #expect(fields.count == 2 && fields[0] == fields[1])
  }

  @Test func `many at once from many threads`() async throws {
    let pool = BlockingPool(threads: 8)
    let watcher = try exits.get()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<100 {
        group.addTask {
          let process = try await pool.run {
            SharedProcess(
              try spawnProcess(
                path: "/bin/sh", arguments: ["sh", "-c", "exit \(index)"], environment: [], descriptors: [],
                cgroup: nil, newSession: false))
          }
          try await watcher.exit(of: process.process.pidfd)
          #expect(try process.process.pidfd.reap() == .exited(code: Int32(index)))
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func `a wait for an exit can be given up, before and while it waits`() async throws {
    let process = SharedProcess(try spawn("exec sleep 100"))
    let watcher = try exits.get()
    let task = Task { try await watcher.exit(of: process.process.pidfd) }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
    try process.process.pidfd.send(signal: SIGKILL)
    try await watcher.exit(of: process.process.pidfd)
    // Once more on a process that is gone already.
    try await watcher.exit(of: process.process.pidfd)
    _ = try process.process.pidfd.reap()
  }

  @Test func `a process is recognised by its start, not its number`() throws {
    let identity = try #require(Pidfd.processIdentity(pid: getpid()))
    func isAlive(_ identity: ProcessIdentity) throws -> Bool {
      if try Pidfd.open(identity) != nil { return true }
      return false
    }
    #expect(try isAlive(identity))
    #expect(try !isAlive(ProcessIdentity(pid: getpid(), startTime: identity.startTime + 1)))
    #expect(Pidfd.processIdentity(pid: 1 << 22) == nil)
    #expect(Pidfd.processIdentity(pid: -1) == nil)
    #expect(try !isAlive(ProcessIdentity(pid: 1 << 22, startTime: 1)))
  }

  @Test func `time to start a program`() throws {
    var times: [Duration] = []
    for _ in 0..<50 {
      times.append(
        try ContinuousClock().measure {
          let process = try spawnProcess(
            path: "/bin/true", arguments: ["true"], environment: [], descriptors: [], cgroup: nil, newSession: true)
          var entry = pollfd(fd: process.pidfd.withRawDescriptor { $0 }, events: Int16(POLLIN), revents: 0)
          poll(&entry, 1, 60_000)
          _ = try process.pidfd.reap()
        })
    }
    times.sort()
    print("spawn, run and reap /bin/true: p50 \(times[25]), p95 \(times[47])")
  }
}

/// A spawned process that several closures may hold.
private final class SharedProcess: Sendable {
  let process: SpawnedProcess
  init(_ process: consuming SpawnedProcess) { self.process = process }
}

private final class Counts: Sendable {
  let value = Mutex((now: 0, most: 0, done: 0))
}

struct BlockingPoolTests {
  @Test func `no more run at a time than there are threads, and all run`() async throws {
    let pool = BlockingPool(threads: 3)
    let counts = Counts()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<50 {
        group.addTask {
          try await pool.run {
            counts.value.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1), $0.done) }
            sched_yield()
            counts.value.withLock { $0 = ($0.now - 1, $0.most, $0.done + 1) }
          }
        }
      }
      try await group.waitForAll()
    }
    let (now, most, done) = counts.value.withLock { $0 }
    #expect(now == 0 && most <= 3 && done == 50)
  }

  @Test func `errors come back, cancelled work does not begin`() async {
    let pool = BlockingPool(threads: 1)
    await #expect(throws: SystemCallError.self) {
      try await pool.run { throw SystemCallError(call: "x", errno: .noMemory, subject: "y") }
    }
    let task = Task {
      while !Task.isCancelled { await Task.yield() }
      try await pool.run { _ = Issue.record("ran") }
    }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func `pools come and go`() async throws {
    for index in 0..<50 {
      let pool = BlockingPool(threads: 4)
      #expect(try await pool.run { index } == index)
    }
  }
}
