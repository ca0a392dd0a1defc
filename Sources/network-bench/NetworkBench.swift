import ArgumentParser
import Glibc
import Logging
import PodNetwork
import RuntimeModel

/// Times of the pod network alone, as one JSON object on standard output. It works in the network namespace it is
/// started in, which should be one made for it, and leaves that as it was. Not shipped: `make bench` runs it.
@main
struct NetworkBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "network-bench")

  @Option(help: "Pods that come and go one after another.")
  var few = 200

  @Option(help: "Pods that stand at the same time.")
  var pods = 500

  @Option(help: "Pods that are attached at the same moment where the rate is measured.")
  var parallel = 8

  @Flag(help: "Each pod publishes a port of the node.")
  var ports = false

  @Option(help: "Namespaces of the warm pool; what is attached alone waits until it is full.")
  var pool = 0

  func run() async throws {
    var configuration = NetworkConfiguration()
    configuration.pool = pool
    configuration.podCIDRs = ["10.244.0.0/19", "fd44:1::/64"]
    var logger = Logger(label: "network-bench")
    logger.logLevel = .error
    var record = Record()
    let round = Round(configuration: configuration, logger: logger, publishes: ports)
    let network = try await round.open([:])
    do {
      try await round.alone(few, network, &record)
      try await round.rate(pods, parallel, network, &record)
      let last = try await round.crowd(pods, network, &record)
      try await last.uninstall()
    } catch {
      try? await round.open([:]).uninstall()
      throw error
    }
    print(record.json)
  }
}

/// Milliseconds of each operation, in the order of their first appearance.
struct Record: Sendable {
  private var names: [String] = []
  private var values: [String: [Double]] = [:]

  mutating func add(_ name: String, _ duration: Duration) {
    if values[name] == nil { names.append(name) }
    let parts = duration.components
    values[name, default: []].append(Double(parts.seconds) * 1000 + Double(parts.attoseconds) / 1e15)
  }

  var json: String {
    let members = names.map { name in
      "\"\(name)\": [" + (values[name] ?? []).map { "\(($0 * 10_000).rounded() / 10_000)" }.joined(separator: ", ")
        + "]"
    }
    return "{" + members.joined(separator: ", ") + "}"
  }
}
