import CRIProtocol
import Glibc

/// CRI's objects as tables and data show them.
enum Shown {
  static func state(_ state: Runtime_V1_PodSandboxState) -> Table.Cell {
    switch state {
    case .sandboxReady: Table.Cell("Ready", .green)
    case .sandboxNotready: Table.Cell("NotReady", .yellow)
    case .UNRECOGNIZED(let number): Table.Cell("Unknown(\(number))", .red)
    }
  }

  /// - Parameter reason: of an exit; shown when it says more than the state does.
  static func state(_ state: Runtime_V1_ContainerState, reason: String = "") -> Table.Cell {
    switch state {
    case .containerCreated: return Table.Cell("Created", .yellow)
    case .containerRunning: return Table.Cell("Running", .green)
    case .containerExited:
      let isPlain = reason.isEmpty || reason == "Completed" || reason == "Error"
      return Table.Cell(isPlain ? "Exited" : reason, reason == "Completed" ? .grey : .red)
    case .containerUnknown: return Table.Cell("Unknown", .red)
    case .UNRECOGNIZED(let number): return Table.Cell("Unknown(\(number))", .red)
    }
  }

  /// The name that a person gave, else a tag of the image, else its shortened id.
  ///
  /// - Parameter tags: tags by image id; a runtime need not remember by which name an image was asked for.
  static func image(_ spec: Runtime_V1_ImageSpec, tags: [String: String] = [:]) -> String {
    let name = spec.userSpecifiedImage.isEmpty ? tags[spec.image] ?? spec.image : spec.userSpecifiedImage
    if name.hasPrefix("sha256:") { return Humane.shortID(name) }
    return name.hasPrefix(officialPrefix) ? String(name.dropFirst(officialPrefix.count)) : name
  }

  private static let officialPrefix = "docker.io/library/"

  static func value(
    _ sandbox: Runtime_V1_PodSandbox, _ answer: Runtime_V1_PodSandboxStatusResponse?,
    _ containers: [Runtime_V1_Container]
  ) -> Value {
    var addresses: [String] = []
    if let network = answer?.status.network, !network.ip.isEmpty {
      addresses = [network.ip] + network.additionalIps.map(\.ip)
    }
    return .record([
      "id": .string(sandbox.id), "name": .string(sandbox.metadata.name),
      "namespace": .string(sandbox.metadata.namespace), "uid": .string(sandbox.metadata.uid),
      "attempt": .int(Int64(sandbox.metadata.attempt)), "state": .string(state(sandbox.state).text),
      "createdAt": time(sandbox.createdAt), "ip": addresses.first.map(Value.string) ?? .null,
      "ips": .strings(addresses), "labels": .strings(sandbox.labels), "annotations": .strings(sandbox.annotations),
      "runtimeHandler": .string(sandbox.runtimeHandler), "pausePid": answer?.pausePid.map(Value.int) ?? .null,
      "containers": .list(
        containers.map { container in
          .record([
            "name": .string(container.metadata.name), "id": .string(container.id),
            "state": .string(state(container.state).text), "image": .string(image(container.image)),
          ])
        }),
    ])
  }

  static func value(
    _ container: Runtime_V1_Container, namespace: String, pod: String, image: String,
    _ status: Runtime_V1_ContainerStatus?
  ) -> Value {
    var value = Value.record([
      "id": .string(container.id), "name": .string(container.metadata.name), "pod": .string(pod),
      "namespace": .string(namespace), "podId": .string(container.podSandboxID),
      "attempt": .int(Int64(container.metadata.attempt)), "state": .string(state(container.state).text),
      "createdAt": time(container.createdAt), "image": .string(image),
      "imageId": .string(container.imageID.isEmpty ? container.imageRef : container.imageID),
      "labels": .strings(container.labels), "annotations": .strings(container.annotations),
    ])
    if let status {
      value = value.setting("exitCode", .int(Int64(status.exitCode))).setting("reason", .string(status.reason))
        .setting("message", .string(status.message)).setting("startedAt", time(status.startedAt))
        .setting("finishedAt", time(status.finishedAt))
    }
    return value
  }

  /// The process that holds a pod's namespaces, in the shape of its containers.
  static func value(_ sandbox: Runtime_V1_PodSandbox, pausePid: Int64) -> Value {
    .record([
      "name": .string(pauseName), "pod": .string(sandbox.metadata.name),
      "namespace": .string(sandbox.metadata.namespace), "podId": .string(sandbox.id), "pid": .int(pausePid),
      "state": .string(state(.containerRunning).text), "createdAt": time(sandbox.createdAt),
    ])
  }

  static let pauseName = "pause"

  /// RFC 3339 in UTC with nanoseconds; null for none.
  static func time(_ nanoseconds: Int64) -> Value {
    guard nanoseconds > 0 else { return .null }
    var seconds = time_t(nanoseconds / 1_000_000_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    let pad = { (number: Int, width: Int) in
      let digits = "\(number)"
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let date = "\(pad(Int(parts.tm_year) + 1900, 4))-\(pad(Int(parts.tm_mon) + 1, 2))-\(pad(Int(parts.tm_mday), 2))"
    let clock = "\(pad(Int(parts.tm_hour), 2)):\(pad(Int(parts.tm_min), 2)):\(pad(Int(parts.tm_sec), 2))"
    return .string("\(date)T\(clock).\(pad(Int(nanoseconds % 1_000_000_000), 9))Z")
  }
}

/// The wall clock, as CRI's times are given in it.
enum Clock {
  static func nanoseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
  }
}
