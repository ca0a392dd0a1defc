import Glibc
import LinuxSystem
import RuntimeModel
import ShimProtocol

/// A shim, spawned by this daemon or an earlier one.
struct ShimProcess: Sendable {
  /// In the pod's run directory.
  static let socketName = "shim.sock"

  var identity: ProcessIdentity
  /// The daemon's end of the connection that the shim is born with: no wait for its socket.
  var connection: Int32

  /// Spawns a shim: its first connection at descriptor 3, its listening socket at 4.
  ///
  /// Blocking; a child of the daemon until the daemon ends, then of init.
  static func spawn(
    binary: String, sandbox: Identifier, directory: String, cgroup: Cgroup
  ) throws -> ShimProcess {
    let listener = SharedFD(OwnedFD(owning: try ShimSocket.listen(path: "\(directory)/\(socketName)")))
    let pair = try ShimSocket.pair()
    let shims = SharedFD(OwnedFD(owning: pair.1))
    let process: SpawnedProcess
    do {
      process = try spawnProcess(
        path: binary, arguments: ["swiftlet-shim", "--id", sandbox.value, "--dir", directory], environment: [],
        descriptors: [(source: shims.raw, target: 3), (source: listener.raw, target: 4)], cgroup: cgroup,
        newSession: true)
    } catch {
      close(pair.0)
      throw error
    }
    guard let identity = Pidfd.processIdentity(pid: process.pid) else {
      close(pair.0)
      throw RuntimeError(.internalError, "shim of sandbox \(sandbox.short) ended at once")
    }
    return ShimProcess(identity: identity, connection: pair.0)
  }

  /// Connects to the shim of a run directory.
  static func connect(directory: String, deadline: ContinuousClock.Instant) async throws -> ShimClient {
    try await ShimClient.connect(path: "\(directory)/\(socketName)", deadline: deadline)
  }

  /// Ends a shim that does not answer. Nothing happens to another process that got its number.
  static func kill(_ identity: ProcessIdentity) throws {
    guard let process = try Pidfd.open(identity) else { return }
    try process.send(signal: SIGKILL)
  }

  /// Waits for the end of a shim that was told to end, and reaps it if it is a child of ours.
  /// - Throws: `internalError` when it still runs ten seconds later, in spite of SIGKILL.
  static func reap(_ identity: ProcessIdentity, exits: ExitWatcher) async throws {
    guard let process = try Pidfd.open(identity) else { return }
    if try await !exits.exit(of: process, within: .seconds(5)) {
      try process.send(signal: SIGKILL)
      guard try await exits.exit(of: process, within: .seconds(5)) else {
        throw RuntimeError(.internalError, "shim \(identity.pid) does not end")
      }
    }
    var status: Int32 = 0
    waitpid(identity.pid, &status, WNOHANG)
  }
}
