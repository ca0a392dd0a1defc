import CNetlink
import Glibc
import LinuxSystem
import Logging
import RuntimeModel
import Testing

@testable import PodNetwork

/// These tests change the network of the namespace they run in, so they run in one of their own:
/// `SWIFTLET_KERNEL_TESTS=1 unshare -n swift test --filter PodNetworkKernelTests` (`make test-kernel`).
enum KernelRoom {
  static let isAsked = getenv("SWIFTLET_KERNEL_TESTS").map { String(cString: $0) == "1" } ?? false
  static let reason: Comment = "needs root and SWIFTLET_KERNEL_TESTS=1, under unshare -n"

  /// Fails loudly where the tests were asked for, but would touch the machine's own network.
  static func require() throws {
    try #require(geteuid() == 0, "asked for, but not root")
    try #require(inode("/proc/self/ns/net") != inode("/proc/1/ns/net"), "asked for, but in the machine's own namespace")
    // A new namespace's loopback is down.
    try NetlinkSocket(family: NETLINK_ROUTE).run { batch throws(NetworkError) in
      try batch.add("set up", "lo", RouteMessage.change(1, up: true))
    }
  }

  static let logger: Logger = {
    var logger = Logger(label: "test")
    logger.logLevel = .error
    return logger
  }()

  static func configuration() -> NetworkConfiguration {
    var configuration = NetworkConfiguration()
    configuration.mtu = 1500
    configuration.pool = 0
    return configuration
  }

  /// Runs `body` with a fresh network, and removes everything afterwards.
  static func withNetwork(
    _ configuration: NetworkConfiguration = configuration(), patience: Duration = .seconds(60), logger: Logger = logger,
    _ body: (PodNetwork) async throws -> Void
  ) async throws {
    try require()
    let network = try await PodNetwork.open(configuration, liveSandboxes: [:], patience: patience, logger: logger)
    let result: Result<Void, any Error>
    do {
      result = .success(try await body(network))
    } catch {
      result = .failure(error)
    }
    do {
      try await network.uninstall()
    } catch .closed {
      // The body shut it down to play a daemon's restart.
      try await PodNetwork.open(configuration, liveSandboxes: [:], logger: logger).uninstall()
    }
    try result.get()
  }

  static func inode(_ path: String) -> UInt64 {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_ino) : 0
  }

  /// Runs `body` on a thread of its own, in a namespace.
  static func inside<Value: Sendable>(
    _ namespace: SharedFD, _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    let result: Result<Value, any Error> = await withCheckedContinuation { continuation in
      do {
        try startThread(named: "test-inside") {
          guard cnetlink_enter_network(namespace.raw) == 0 else {
            continuation.resume(returning: .failure(TestFailure(text: "setns: errno \(errno)")))
            return
          }
          continuation.resume(returning: Result { try body() })
        }
      } catch {
        continuation.resume(returning: .failure(error))
      }
    }
    return try result.get()
  }

  /// What a command of the host prints.
  static func command(_ line: String) throws -> String {
    guard let pipe = popen(line, "re") else { throw TestFailure(text: "\(line): errno \(errno)") }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = fread(&buffer, 1, buffer.count, pipe), count > 0 { text += buffer[..<count] }
    guard pclose(pipe) == 0 else { throw TestFailure(text: line) }
    return String(decoding: text, as: UTF8.self)
  }

  /// Waits until `condition` holds: asked again every few milliseconds up to the deadline, which is a loaded machine's:
  /// a test of how long something takes measures that.
  static func eventually(
    within limit: Duration = .seconds(60), _ what: Comment, _ condition: () async throws -> Bool
  ) async throws {
    let end = ContinuousClock.now + limit
    while try await !condition() {
      try #require(ContinuousClock.now < end, what)
      try await Task.sleep(for: .milliseconds(5))
    }
  }
}

extension Pod {
  /// The kernel gives a new address of IPv6 its local route in a worker of its own (addrconf_dad_work), which a busy
  /// machine comes to after the attach: until then datagrams to it are lost.
  func receives() async throws {
    guard let address = lease.ipv6.flatMap({ IPAddress($0) }) else { return }
    let name = address.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    try await KernelRoom.eventually("a pod's address receives") {
      try await KernelRoom.inside(attachment.namespace) {
        let routes = try readSmallFile("/proc/thread-self/net/ipv6_route", limit: 1 << 20)
        // The ninth word has the flags, RTF_LOCAL the highest of them.
        return String(decoding: routes, as: UTF8.self).split(separator: "\n").contains { line in
          let words = line.split(separator: " ")
          return words.count > 8 && words[0] == name && words[8].hasPrefix("8")
        }
      }
    }
  }
}

extension PodNetwork {
  /// What a rule has counted once it has seen so many packets: the kernel may still be at one when its send returns.
  func counted(_ packets: UInt64, _ counter: RuleCounter) async throws -> TrafficCount {
    var found = TrafficCount()
    try await KernelRoom.eventually("\(packets) packets counted as \(counter)") {
      found = try await ruleCounters()[counter]
      return found.packets >= packets
    }
    return found
  }
}

/// What this process has used of the processors: of a duration the part that nothing else has any in.
func processorTime() -> Duration {
  var now = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now)
  return .seconds(now.tv_sec) + .nanoseconds(now.tv_nsec)
}

struct TestFailure: Error { var text: String }
