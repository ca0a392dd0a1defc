import ArgumentParser
import CRIProtocol

struct Net: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows the pod network: bridges, pods, peers, drops; one pod; or a picture of it all.",
    discussion: """
      swiftlet net             the whole of it
      swiftlet net POD         one pod's attachment, with the time of each of its steps
      swiftlet net graph       the picture, from live state
      """,
    subcommands: [NetShow.self, NetGraph.self], defaultSubcommand: NetShow.self)
}

struct NetShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Prints the pod network, or one pod's attachment to it.")

  @Argument(help: "A pod; without it, everything.")
  var pod: String?

  @Flag(help: "The counters in Prometheus' text form.")
  var metrics = false

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let (network, only) = try await global.withRuntime { connection in
      guard let pod else { return (try await NetworkQuery.all(connection), false) }
      let sandbox = try await Inventory.load(connection).findPod(pod)
      return (try await NetworkQuery.one(sandbox.id, connection), true)
    }
    if metrics {
      Terminal.current.data(NetworkMetrics.text(network.metrics))
    } else if let format = output.output, format != .table {
      let value = only ? network.attachments.first.map(NetworkValue.attachment) : nil
      try output.print(value ?? NetworkValue.whole(network), table: nil)
    } else if only, let attachment = network.attachments.first {
      NetworkTables.printAttachment(attachment, of: network)
    } else {
      NetworkTables.printWhole(network)
    }
  }
}

struct NetGraph: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "graph", abstract: "Draws node, bridge, veth pairs, pods with pause and containers, and peers.",
    discussion: """
      Text on standard output, unless --svg names a file. The picture is drawn from what the kernel shows at this moment.
      """)

  @Option(help: ArgumentHelp("Writes the picture as SVG; - for standard output.", valueName: "file"))
  var svg: String?

  @Flag(help: "Draws with the characters of a terminal, 100 columns wide (the default).")
  var text = false

  @Option(
    name: .customLong("with"),
    help: ArgumentHelp("The socket of another node's daemon, whose pods are drawn as well.", valueName: "path"))
  var others: [String] = []

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if text, svg != nil { throw ValidationError("--svg and --text exclude each other") }
  }

  func run() async throws {
    var networks = [try await global.withRuntime { try await NetworkQuery.all($0) }]
    for other in others {
      let socket = try SocketChoice.choose(option: other) { _ in nil }
      networks.append(try await RuntimeConnection.with(socket) { try await NetworkQuery.all($0) })
    }
    if let format = output.output, format != .table {
      let values = networks.map(NetworkValue.whole)
      try output.print(values.count == 1 ? values[0] : .list(values), table: nil)
      return
    }
    let picture = Picture(networks)
    guard let svg else {
      for line in TextPicture(picture).lines { Terminal.current.data(line) }
      return
    }
    let drawing = SVGPicture(picture).document
    if svg == "-" {
      Terminal.current.data(drawing)
    } else {
      try OutputFile.write(drawing + "\n", to: svg)
    }
  }
}
