import ArgumentParser
import CRIProtocol
import NIOCore
import SwiftProtobuf

struct PortForward: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "port-forward", abstract: "Makes ports of a pod reachable on this node, until it is interrupted.",
    discussion:
      "`swiftlet port-forward web 8080:80`; `:80` takes any free port. Works for what listens on the pod's localhost, too."
  )

  @Argument(help: "A pod.")
  var target: String

  @Argument(help: ArgumentHelp("Ports.", valueName: "[local:]port"))
  var ports: [String]

  @Option(help: ArgumentHelp("Where to listen; without it 127.0.0.1 and ::1.", valueName: "address"))
  var address: [String] = []

  @OptionGroup var global: GlobalOptions

  func run() async throws {
    let wanted = try ports.map { (text: String) throws(ClientError) in try ForwardedPort(text) }
    try await global.withRuntime { connection in
      let sandbox = try await Inventory.load(connection).findPod(target)
      let request = Runtime_V1_PortForwardRequest.with {
        $0.podSandboxID = sandbox.id
        $0.port = wanted.map { Int32($0.remote) }
      }
      let answer = try await connection.call("forward to \(sandbox.qualifiedName)") { connection, options in
        try await connection.runtime.portForward(request, options: options)
      }
      let forwarder = PortForwarder(pod: sandbox.qualifiedName, terminal: .current)
      try await forwarder.run(
        at: try SessionURL(answer.url), ports: wanted, addresses: address.isEmpty ? ["127.0.0.1", "::1"] : address
      ) { local, port in
        Terminal.current.data("Forwarding from \(Self.shown(local)) to \(port.remote)")
      }
    }
  }

  private static func shown(_ address: SocketAddress) -> String {
    let host = address.ipAddress ?? "?"
    return (host.contains(":") ? "[\(host)]" : host) + ":\(address.port ?? 0)"
  }
}
