import Glibc
import LinuxSystem
import SystemPackage
import Testing

/// Whether tests that change kernel objects were asked for; then they need root and fail without it.
let kernelTestsAreAskedFor = getenv("SWIFTLET_KERNEL_TESTS").map { String(cString: $0) } == "1"
let kernelTestsReason: Comment = "SWIFTLET_KERNEL_TESTS is not 1"

func requireRoot() throws { try #require(geteuid() == 0, "kernel tests need root") }

/// A group of the test's own in every hierarchy, gone with it and with everything below.
final class ScratchCgroup {
  let cgroup: Cgroup

  init(_ hierarchy: CgroupHierarchy? = nil) throws {
    try requireRoot()
    let hierarchy = try hierarchy ?? Cgroup.mounted()
    cgroup = try hierarchy.create(path: "/swiftlet-test-\(getpid())-\(UInt32.random(in: 0 ... .max))")
  }

  deinit {
    try? cgroup.kill()
    do {
      try cgroup.remove(deadline: .seconds(60))
    } catch {
      Issue.record("\(error)")
    }
  }
}

/// Runs a shell script in a group with its standard output to us.
func run(_ script: String, in cgroup: Cgroup) throws -> (status: LinuxSystem.ExitStatus?, output: String) {
  var ends: [Int32] = [0, 0]
  #expect(pipe(&ends) == 0)
  for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  let reader = OwnedFD(owning: ends[0])
  let process: SpawnedProcess
  do {
    defer { close(ends[1]) }
    process = try start(script, in: cgroup, output: ends[1])
  }
  var text = ""
  reader.withRawDescriptor { raw in
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = read(raw, &buffer, buffer.count), count > 0 {
      text += String(decoding: buffer.prefix(count), as: UTF8.self)
    }
  }
  return (try waitForEnd(process), text)
}

func start(_ script: String, in cgroup: Cgroup?, output: Int32? = nil) throws -> SpawnedProcess {
  var descriptors: [(source: Int32, target: Int32)] = []
  if let output { descriptors = [(output, 1), (output, 2)] }
  return try spawnProcess(
    path: "/bin/sh", arguments: ["sh", "-c", script], environment: ["PATH=/usr/bin:/bin"], descriptors: descriptors,
    cgroup: cgroup, newSession: true)
}

/// - Returns: nil when it had not ended after 60 s.
func waitForEnd(_ process: borrowing SpawnedProcess) throws -> LinuxSystem.ExitStatus? {
  var entry = pollfd(fd: process.pidfd.withRawDescriptor { $0 }, events: Int16(POLLIN), revents: 0)
  #expect(poll(&entry, 1, 60_000) == 1)
  return try process.pidfd.reap()
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
