import ArgumentParser
import CRIProtocol
import RuntimeModel

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Starts a pod of one container; prints the container's id.",
    discussion: "`swiftlet run -it --rm busybox -- sh` for a shell in a pod of its own.")

  @Argument(help: "The container's image.")
  var image: String

  @Argument(parsing: .postTerminator, help: "Arguments, in place of the image's.")
  var command: [String] = []

  @Option(help: "The pod's and the container's name; made from the image's without it.")
  var name: String?

  @Option(name: .shortAndLong, help: "The pod's namespace.")
  var namespace = "default"

  @Option(
    name: [.customShort("e"), .customLong("env")],
    help: ArgumentHelp("An environment variable.", valueName: "name=value"))
  var environment: [String] = []

  @Option(
    name: [.customShort("p"), .customLong("publish")],
    help: ArgumentHelp("Makes a port of the pod reachable on the node.", valueName: "[ip:]host:container[/udp]"))
  var publish: [String] = []

  @Option(
    name: [.customShort("v"), .customLong("volume")],
    help: ArgumentHelp("Mounts a path of the node.", valueName: "host:container[:ro]"))
  var volumes: [String] = []

  @Option(name: .shortAndLong, help: ArgumentHelp("The user to run as, by number.", valueName: "uid[:gid]"))
  var user: String?

  @Option(help: ArgumentHelp("At most this much memory.", valueName: "quantity"))
  var memory: String?

  @Option(help: ArgumentHelp("At most this much CPU.", valueName: "quantity"))
  var cpus: String?

  @Flag(help: "Use the node's network.")
  var hostNetwork = false

  @Flag(help: "Give the container all the node's privileges.")
  var privileged = false

  @Flag(help: "Remove the pod when its container has ended; needs -i.")
  var rm = false

  @OptionGroup var session: SessionOptions
  @OptionGroup var directories: DirectoryOptions
  @OptionGroup var global: GlobalOptions

  func validate() throws {
    if rm, !session.input { throw ValidationError("--rm is for a container that is waited for: with -i") }
  }

  func run() async throws {
    let terminal = session.usableTerminal()
    let pod = try manifest(terminal: terminal)
    let outcome = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      if let present = inventory.sandboxes.first(where: { $0.qualifiedName == pod.qualifiedName }) {
        throw ClientError(
          .failed, "cannot run \(pod.qualifiedName)",
          why: "a pod of that name is there (\(Humane.shortID(present.id)))",
          remedy: "another --name, or swiftlet rm --force \(pod.qualifiedName)")
      }
      Terminal.current.note("Pod \(pod.qualifiedName)")
      return try await PodPlayer(connection: connection, terminal: .current)
        .start(pod, directories.plan(), manifest: nil)
    }
    let id = outcome.containers.first?.id ?? ""
    guard session.input else { return Terminal.current.data(id) }
    let code = try await attach(to: id, of: outcome, terminal: terminal)
    if code != 0 { throw ExitCode(code) }
  }

  /// Stays until the container has ended, or the person has left it.
  private func attach(to id: String, of outcome: PodPlayer.Outcome, terminal: Bool) async throws -> Int32 {
    try await global.withRuntime { connection in
      let pod = outcome.pod.qualifiedName
      if terminal { Terminal.current.note("If there is no prompt, press Enter. Ctrl-P Ctrl-Q leaves it running.") }
      let session = ContainerSession(connection: connection, id: id, name: "\(pod)/\(outcome.pod.name)")
      let attached = Task { try await session.attachOrTell(terminal: terminal) }
      let result = await withTaskCancellationHandler {
        await attached.result
      } onCancel: {
        attached.cancel()
      }
      if case .success(nil) = result { return 0 }
      // In a task of its own: this one may have been cancelled.
      if rm { try await Task { try await remove(outcome.sandbox.id, connection) }.value }
      return try result.get() ?? 0
    }
  }

  private func remove(_ id: String, _ connection: RuntimeConnection) async throws {
    let inventory = try await Inventory.load(connection)
    guard let sandbox = inventory.sandboxes.first(where: { $0.id == id }) else { return }
    let life = PodLife(connection: connection)
    try await life.stop(sandbox, containers: inventory.containers(of: sandbox), grace: 0)
    try await life.remove(sandbox)
  }

  /// The pod that the options describe.
  func manifest(terminal: Bool = false) throws(ClientError) -> PodManifest {
    let name = name ?? Self.generatedName(image)
    if let trouble = Names.labelTrouble(name) ?? Names.labelTrouble(namespace) {
      throw ClientError(.usage, "cannot run \(image)", why: trouble)
    }
    var container = ContainerManifest(name: name, image: image)
    container.args = command.map(Expansion.escape)
    for entry in environment {
      let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, !parts[0].isEmpty else { throw Self.usage("--env \(entry)", "it must be name=value") }
      container.environment.append(EnvironmentVariable(name: parts[0], value: Expansion.escape(parts[1])))
    }
    container.ports = try publish.map(Self.port)
    container.limits = ResourceAmounts(
      milliCPU: try Self.quantity(cpus, "--cpus")?.milliCPU, memoryBytes: try Self.quantity(memory, "--memory")?.units)
    if let user { (container.security.runAsUser, container.security.runAsGroup) = try Self.user(user) }
    container.security.privileged = privileged
    container.stdin = session.input
    container.stdinOnce = session.input
    container.tty = terminal
    var pod = PodManifest(name: name, namespace: namespace, containers: [])
    for (index, text) in volumes.enumerated() {
      let (source, mount) = try Self.volume(text, name: "volume-\(index)")
      pod.volumes.append(source)
      container.mounts.append(mount)
    }
    pod.containers = [container]
    pod.hostNetwork = hostNetwork
    pod.terminationGraceSeconds = PodLife.defaultGrace
    return pod
  }

  /// `nginx-x7k2p` for `docker.io/library/nginx:1.21`.
  static func generatedName(_ image: String) -> String {
    let last = image.split(separator: "/").last ?? "pod"
    let base = last.split(whereSeparator: { $0 == ":" || $0 == "@" }).first ?? "pod"
    let kept = base.lowercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "-" }
    let trimmed = String(kept.prefix(50)).split(separator: "-").joined(separator: "-")
    // No vowels and no look-alikes, as Kubernetes does it: no words come out.
    let alphabet = Array("bcdfghjklmnpqrstvwxz2456789")
    let suffix = String((0..<5).compactMap { _ in alphabet.randomElement() })
    return trimmed.isEmpty ? "pod-\(suffix)" : "\(trimmed)-\(suffix)"
  }

  static func port(_ text: String) throws(ClientError) -> PortManifest {
    let halves = text.split(separator: "/", maxSplits: 1).map(String.init)
    let numbers = (halves.first ?? "").split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let transport = halves.count == 2 ? PortManifest.Transport(rawValue: halves[1].uppercased()) : .tcp
    guard numbers.count >= 2, let host = Int32(numbers[numbers.count - 2]),
      let inner = Int32(numbers[numbers.count - 1]),
      (1...65_535).contains(host), (1...65_535).contains(inner), let transport
    else { throw usage("--publish \(text)", "it must be [ip:]host:container, with /udp or /sctp where it is not TCP") }
    let address = numbers.dropLast(2).joined(separator: ":")
    let bare = address.hasPrefix("[") && address.hasSuffix("]") ? String(address.dropFirst().dropLast()) : address
    return PortManifest(containerPort: inner, hostPort: host, hostIP: bare, transport: transport)
  }

  static func volume(_ text: String, name: String) throws(ClientError) -> (VolumeManifest, VolumeMountManifest) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 || (parts.count == 3 && ["ro", "rw"].contains(parts[2])), parts[0].hasPrefix("/"),
      parts[1].hasPrefix("/")
    else { throw usage("--volume \(text)", "it must be host:container[:ro], both absolute paths") }
    return (
      VolumeManifest(name: name, source: .hostPath(parts[0], .unchecked)),
      VolumeMountManifest(volume: name, path: parts[1], isReadOnly: parts.last == "ro")
    )
  }

  private static func user(_ text: String) throws(ClientError) -> (Int64?, Int64?) {
    let numbers = text.split(separator: ":", omittingEmptySubsequences: false).map { UInt32($0).map(Int64.init) }
    guard (1...2).contains(numbers.count), !numbers.contains(nil) else {
      throw usage("--user \(text)", "it must be uid or uid:gid, numbers")
    }
    return (numbers[0], numbers.count == 2 ? numbers[1] : nil)
  }

  private static func quantity(_ text: String?, _ option: String) throws(ClientError) -> Quantity? {
    guard let text else { return nil }
    guard let quantity = Quantity(text) else {
      throw usage("\(option) \(text)", "it is no quantity such as 0.5, 500m or 64Mi")
    }
    return quantity
  }

  private static func usage(_ what: String, _ why: String) -> ClientError {
    ClientError(.usage, "cannot use \(what)", why: why)
  }
}
