import CRIServer
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import LinuxSystem
import Logging
import Synchronization

/// The daemon from its directories to its socket, and back.
final class Service: Sendable {
  /// How long requests under way may take when the daemon is told to stop.
  private static let grace = Duration.seconds(5)

  private let configuration: DaemonConfiguration
  private let logger: Logger
  private let server = Mutex<GRPCServer<HTTP2ServerTransport.Posix>?>(nil)

  init(configuration: DaemonConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  /// Runs until ``stop()``, then ends the process: with 1 and the reason on standard error when it could not run.
  func run() async {
    do {
      try await serve()
      exit(0)
    } catch {
      logger.critical("swiftletd ends: \(error)")
      exit(1)
    }
  }

  /// Lets requests under way finish, for a while.
  func stop() {
    guard let server = server.withLock({ $0 }) else { exit(0) }
    server.beginGracefulShutdown()
    let logger = logger
    Task {
      try await Task.sleep(for: Self.grace)
      logger.warning("requests are still under way; they are cut off")
      exit(0)
    }
  }

  private func serve() async throws {
    for directory in [
      configuration.root, "\(configuration.root)/net", configuration.state, "\(configuration.state)/pods",
    ] {
      try PrivateDirectory.make(directory)
    }
    let lock = try FileLock(path: "\(configuration.state)/lock")
    let rootLock = try FileLock(path: "\(configuration.root)/lock")
    let directories = [configuration.root, configuration.state]
    for directory in directories { try DirectoryFormat.check(directory) }
    try SocketFile.prepare(configuration.socket)
    let (daemon, records) = try await Daemon.open(configuration, logger: logger)
    for directory in directories { try DirectoryFormat.claim(directory) }
    let transport = HTTP2ServerTransport.Posix(
      address: .unixDomainSocket(path: configuration.socket), transportSecurity: .plaintext,
      config: .defaults { $0.rpc.maxRequestPayloadSize = 16 << 20 })
    let server = GRPCServer(transport: transport, services: daemon.services, interceptors: daemon.interceptors)
    self.server.withLock { $0 = server }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.serve() }
      group.addTask { [configuration, logger] in
        _ = try await transport.listeningAddress
        try SocketFile.close(configuration.socket)
        do {
          try await daemon.recover(records)
        } catch {
          // The server's own end would wait for its clients.
          logger.critical("swiftletd ends: \(error)")
          exit(1)
        }
        logger.notice("serving CRI v1", metadata: ["socket": "\(configuration.socket)"])
      }
      try await group.waitForAll()
    }
    await daemon.close()
    unlink(configuration.socket)
    _ = consume lock
    _ = consume rootLock
  }
}
