import ArgumentParser
import CRIServer
import Glibc
import LinuxSystem
import Logging

/// The daemon's door: parses the command line, then runs until a signal ends it.
@main
struct Swiftletd: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "swiftletd", abstract: "A Kubernetes CRI v1 container runtime.", version: Daemon.version)

  @Option(help: "Configuration file (TOML). Without one every key has its default.")
  var config: String?
  @Option(help: "Directory of images and records, which survive a reboot (default: /var/lib/swiftlet).")
  var root: String?
  @Option(help: "Directory of what belongs to running pods (default: /run/swiftlet).")
  var state: String?
  @Option(help: "Unix socket on which CRI v1 is served, mode 0600 (default: /run/swiftlet/swiftlet.sock).")
  var socket: String?

  func run() throws {
    guard geteuid() == 0 else {
      throw ValidationError("swiftletd must run as root: it makes namespaces, mounts and cgroups")
    }
    // Everything that this process creates is its own alone; what others may see is given its mode by name.
    umask(0o077)
    try DescriptorLimit.raise()
    signal(SIGPIPE, SIG_IGN)
    // Before there is a second thread, so that every later one inherits the mask and the main thread takes the signals.
    var signals = sigset_t()
    sigemptyset(&signals)
    for number in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&signals, number) }
    pthread_sigmask(SIG_BLOCK, &signals, nil)

    let file = try ConfigurationFile(path: config)
    LoggingSystem.bootstrap { label in StreamLogHandler.standardError(label: label) }
    var logger = Logger(label: "swiftletd")
    logger.logLevel = file.logLevel
    // For tests alone; whoever sets it knows what it does to the pods of this node.
    if let text = getenv("SWIFTLET_FAILPOINTS") {
      for point in try Failpoint.arm(String(cString: text)) {
        logger.warning("a failpoint is armed: this daemon will misbehave", metadata: ["failpoint": "\(point)"])
      }
    }
    let settings = try file.daemonConfiguration(root: root, state: state, socket: socket)
    let service = Service(configuration: settings, logger: logger)
    // Unstructured: it lives as long as the process, which it ends.
    Task { await service.run() }
    wait(for: signals, service: service, logger: logger)
  }

  /// Takes signals on the main thread for ever; the service ends the process.
  private func wait(for signals: sigset_t, service: Service, logger: Logger) {
    var signals = signals
    while true {
      var number: Int32 = 0
      guard sigwait(&signals, &number) == 0 else { continue }
      if number == SIGHUP {
        logger.notice("SIGHUP: no key can be reloaded yet; restart swiftletd, pods stay")
      } else {
        logger.notice("stopping, pods stay", metadata: ["signal": "\(number)"])
        service.stop()
      }
    }
  }
}
