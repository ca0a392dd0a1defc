internal import Glibc
package import LinuxSystem
package import Logging
package import RuntimeModel
internal import Synchronization

/// Pods' networks made by the plugins of a CNI configuration list.
///
/// The list is read anew at every use: there is no watcher that could miss a change. Each sandbox's namespace has a
/// name below `namespaceDirectory` from before ADD until after DEL, so that plugins find it whether or not pause, or
/// this daemon, is there.
package final class CNINetwork: Sendable {
  /// A sandbox that plugins have put on the network.
  package struct Attached: Sendable {
    package var namespace: SharedFD
    package var result: CNIResult
    /// `namespace`, each plugin's type, and `all` together.
    package var steps: [(name: String, duration: Duration)]
  }

  /// Whether sandboxes can be attached now.
  package enum Readiness: Sendable, Equatable {
    case ready
    case notReady(reason: String, message: String)
  }

  static let interface = "eth0"

  package let configuration: CNIConfiguration
  let logger: Logger
  let cache: AttachmentCache
  /// Plugins mostly wait for each other's locks.
  private let threads = BlockingPool(threads: 8)
  /// What STATUS said last, and of which list.
  private let status = Mutex<(list: NetworkList, at: ContinuousClock.Instant, readiness: Readiness)?>(nil)

  package init(_ configuration: CNIConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
    cache = AttachmentCache(directory: configuration.cacheDirectory)
  }

  /// Makes a namespace and runs ADD. After a failure `detach` takes away what there is.
  /// - Parameter given: the pod's own, new and empty, because a user namespace is to own it.
  package func attach(_ pod: CNIPod, namespace given: SharedFD? = nil) async throws -> Attached {
    let clock = ContinuousClock()
    let begun = clock.now
    let list = try NetworkList.first(in: configuration.configurationDirectory)
    for plugin in list.plugins { _ = try configuration.find(plugin.type) }
    let path = namespacePath(pod.sandbox)
    var attachment = CachedAttachment(
      sandbox: pod.sandbox, list: list, interface: Self.interface, namespacePath: path,
      arguments: try pod.arguments(), runtimeConfig: pod.runtimeConfig, result: nil)
    let intent = attachment
    try await threads.run { [cache, configuration] in
      try cache.write(intent)
      try PrivateDirectory.make(configuration.namespaceDirectory)
    }
    let namespace = try await makeNamespace(path, given)
    let made = clock.now
    let (answer, laps) = try await threads.run { [configuration] in
      var laps: [(name: String, duration: Duration)] = []
      var last = made
      let answer = try PluginChain(configuration: configuration, attachment: intent).add { type in
        let now = clock.now
        laps.append((type, now - last))
        last = now
      }
      return (answer, laps)
    }
    let result = try Self.result(answer, list, namespace: path)
    attachment.result = answer
    let whole = attachment
    try await threads.run { [cache] in try cache.write(whole) }
    let steps = [("namespace", made - begun)] + laps + [("all", clock.now - begun)]
    return Attached(namespace: namespace, result: result, steps: steps)
  }

  /// Runs DEL, and takes the namespace's name away when every plugin has said yes. Idempotent; a sandbox that was never
  /// attached is success.
  /// - Throws: the first plugin's failure; everything that a repetition needs is kept.
  package func detach(_ sandbox: Identifier) async throws {
    let path = namespacePath(sandbox)
    try await threads.run { [cache, configuration] in
      if let attachment = try cache.read(sandbox) {
        try PluginChain(configuration: configuration, attachment: attachment).delete()
      }
      do throws(SystemCallError) {
        try NetworkNamespace.unpin(path)
      } catch {
        throw CNIError.system("let go of a network namespace", error)
      }
      try cache.remove(sandbox)
    }
  }

  /// Whether plugins find the attachment as they left it: their words when not, nil when all is well.
  package func check(_ sandbox: Identifier) async throws -> String? {
    try await threads.run { [cache, configuration] in
      guard let attachment = try cache.read(sandbox) else { return "no attachment is remembered" }
      do throws(CNIError) {
        try PluginChain(configuration: configuration, attachment: attachment).check()
        return nil
      } catch {
        return error.description
      }
    }
  }

  /// What ADD said of a sandbox, from the cache.
  package func result(of sandbox: Identifier) async throws -> CNIResult? {
    try await threads.run { [cache] in
      guard let attachment = try cache.read(sandbox), let answer = attachment.result else { return nil }
      return try Self.result(answer, attachment.list, namespace: attachment.namespacePath)
    }
  }

  private func makeNamespace(_ path: String, _ given: SharedFD?) async throws(CNIError) -> SharedFD {
    do {
      if let given {
        try await NetworkNamespace.pin(given, at: path)
        return given
      }
      return try await NetworkNamespace.make(pinnedAt: path)
    } catch {
      throw .system("make a network namespace", error)
    }
  }

  private static func result(_ answer: JSON, _ list: NetworkList, namespace: String) throws(CNIError) -> CNIResult {
    do {
      return try CNIResult(answer, interface: interface, namespace: namespace)
    } catch {
      throw .badAnswer(
        plugin: list.plugins.last?.type ?? "", command: "ADD", network: list.name, reason: error.text)
    }
  }

  private func namespacePath(_ sandbox: Identifier) -> String { "\(configuration.namespaceDirectory)/\(sandbox)" }

  // MARK: readiness

  /// The list in use, for people: name, file, version and plugins.
  package func describeList() throws(CNIError) -> (name: String, path: String, version: String, plugins: [String]) {
    let list = try NetworkList.first(in: configuration.configurationDirectory)
    return (list.name, list.path, list.version, list.plugins.map(\.type))
  }

  /// Whether there is a list with all its plugins, and since 1.1.0 whether those are ready: asked every 10 s at most.
  package func readiness() async -> Readiness {
    let list: NetworkList
    do throws(CNIError) {
      list = try NetworkList.first(in: configuration.configurationDirectory)
      for plugin in list.plugins { _ = try configuration.find(plugin.type) }
    } catch {
      return .notReady(reason: Self.reason(error), message: error.description)
    }
    guard list.isAtLeast("1.1.0") else { return .ready }
    let known = status.withLock { $0 }
    if let known, known.list == list, ContinuousClock.now - known.at < .seconds(10) { return known.readiness }
    let found = await askStatus(list)
    status.withLock { $0 = (list, .now, found) }
    return found
  }

  private func askStatus(_ list: NetworkList) async -> Readiness {
    do {
      try await threads.run { [configuration] in
        for plugin in list.plugins {
          let run = PluginRun(
            path: try configuration.find(plugin.type), type: plugin.type, command: "STATUS", network: list.name,
            environment: configuration.baseEnvironment + ["CNI_COMMAND=STATUS"],
            input: PluginChain.configuration(of: plugin, in: list).bytes, timeout: .seconds(10))
          _ = try run.run()
        }
      }
      return .ready
    } catch {
      return .notReady(reason: "CNIPluginNotReady", message: "\(error)")
    }
  }

  private static func reason(_ error: CNIError) -> String {
    switch error {
    case .noConfiguration: "NoCNIConfiguration"
    case .badConfiguration: "BadCNIConfiguration"
    case .pluginMissing: "CNIPluginMissing"
    default: "CNIPluginNotReady"
    }
  }

  // MARK: after a restart

  /// Looks at what an earlier run remembers. Blocks.
  /// - Throws: ``LaterFormat`` when that was a later version.
  package func checkState() throws(LaterFormat) { try cache.check() }

  /// Runs DEL for every attachment that no sandbox has any more: left by a crash, or by the reboot that ended all pods,
  /// which plugins' files outlive. What cannot be deleted is kept for the next start.
  package func reconcile(live: Set<Identifier>) async {
    let stale = Set(cache.sandboxes + fileNames(configuration.namespaceDirectory).compactMap { Identifier($0) })
      .subtracting(live)
    for sandbox in stale.sorted() {
      do {
        try await detach(sandbox)
        logger.notice("attachment of no live sandbox deleted", metadata: ["sandbox": "\(sandbox.short)"])
      } catch {
        logger.warning(
          "an attachment of no live sandbox could not be deleted; tried again at the next start",
          metadata: ["sandbox": "\(sandbox.short)", "error": "\(error)"])
      }
    }
  }
}
