import CRIProtocol

/// What a word on the command line stands for.
enum Target: Sendable {
  case pod(Runtime_V1_PodSandbox)
  case container(Runtime_V1_Container)

  var id: String {
    switch self {
    case .pod(let sandbox): sandbox.id
    case .container(let container): container.id
    }
  }
}

extension Inventory {
  /// Finds a pod or container by name or id. The first rule that matches anything decides:
  ///
  /// 1. the whole id,
  /// 2. `pod`, `namespace/pod`, `pod/container`, `namespace/pod/container`,
  /// 3. the beginning of an id,
  /// 4. a container's own name,
  /// 5. the beginning of a pod's name.
  ///
  /// - Throws: ``ClientError``: `notFound`, or `failed` with the candidates when several match.
  func find(_ text: String) throws(ClientError) -> Target {
    guard !text.isEmpty else { throw ClientError(.usage, "an empty name names nothing") }
    for matches in [exactIDs(text), names(text), idPrefixes(text), containerNames(text), podPrefixes(text)] {
      if matches.count > 1 { throw ambiguous(text, matches) }
      if let match = matches.first { return match }
    }
    throw ClientError(
      .notFound, "no pod or container is called \"\(text)\"", remedy: "swiftlet ps -a, or swiftlet pods")
  }

  func findPod(_ text: String) throws(ClientError) -> Runtime_V1_PodSandbox {
    switch try find(text) {
    case .pod(let sandbox): return sandbox
    case .container(let container):
      throw ClientError(.failed, "\(name(of: container)) is a container, not a pod")
    }
  }

  /// Finds a container; a pod stands for its only one.
  func findContainer(_ text: String) throws(ClientError) -> Runtime_V1_Container {
    switch try find(text) {
    case .container(let container): return container
    case .pod(let sandbox):
      let candidates = currentContainers(of: sandbox)
      guard candidates.count <= 1 else {
        throw ClientError(
          .failed, "pod \(sandbox.qualifiedName) has \(candidates.count) containers: which one?",
          details: candidates.map { "\(sandbox.metadata.name)/\($0.metadata.name)" })
      }
      guard let container = candidates.first else {
        throw ClientError(.notFound, "pod \(sandbox.qualifiedName) has no container")
      }
      return container
    }
  }

  private func exactIDs(_ text: String) -> [Target] {
    sandboxes.filter { $0.id == text }.map(Target.pod) + containers.filter { $0.id == text }.map(Target.container)
  }

  private func names(_ text: String) -> [Target] {
    let pods = sandboxes.filter { text == $0.metadata.name || text == $0.qualifiedName }
    let inPods = containers.filter { container in
      guard text.contains("/"), let sandbox = sandbox(of: container) else { return false }
      return text == "\(sandbox.metadata.name)/\(container.metadata.name)"
        || text == "\(sandbox.qualifiedName)/\(container.metadata.name)"
    }
    return current(pods) + current(inPods)
  }

  private func idPrefixes(_ text: String) -> [Target] {
    guard text.utf8.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }) else { return [] }
    return sandboxes.filter { $0.id.hasPrefix(text) }.map(Target.pod)
      + containers.filter { $0.id.hasPrefix(text) }.map(Target.container)
  }

  private func containerNames(_ text: String) -> [Target] { current(containers.filter { $0.metadata.name == text }) }

  private func podPrefixes(_ text: String) -> [Target] {
    current(sandboxes.filter { $0.metadata.name.hasPrefix(text) || $0.qualifiedName.hasPrefix(text) })
  }

  /// Of the attempts at one pod the ready one, else the newest.
  private func current(_ found: [Runtime_V1_PodSandbox]) -> [Target] {
    Self.collapse(found, key: \.qualifiedName) { $0.state == .sandboxReady }.map(Target.pod)
  }

  private func current(_ found: [Runtime_V1_Container]) -> [Target] {
    Self.collapse(found, key: name(of:)) { $0.state == .containerRunning }.map(Target.container)
  }

  private func ambiguous(_ text: String, _ matches: [Target]) -> ClientError {
    let candidates = matches.map { match in
      switch match {
      case .pod(let sandbox): "pod \(sandbox.qualifiedName)   \(Humane.shortID(sandbox.id))"
      case .container(let container): "container \(name(of: container))   \(Humane.shortID(container.id))"
      }
    }
    return ClientError(
      .failed, "\"\(text)\" is ambiguous", why: "\(matches.count) match", details: candidates.sorted(),
      remedy: "name it with its namespace and pod, or by more of its id")
  }
}
