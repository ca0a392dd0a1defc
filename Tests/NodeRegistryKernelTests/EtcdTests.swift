import Logging
import RuntimeModel
import Synchronization
import Testing

@testable import NodeRegistry

/// One node that follows the registry, and what it was told last.
private final class Follower: Sendable {
  private let views = Mutex([RegistryView()])
  private let task = Mutex<Task<Void, Never>?>(nil)

  /// All that it was told.
  var history: [RegistryView] { views.withLock { $0 } }
  var view: RegistryView { views.withLock { $0.last } ?? RegistryView() }
  var names: [String] { view.nodes.map(\.name) }

  init(_ own: NodeRecord, _ configuration: NodeRegistryConfiguration) throws {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let registry = try NodeRegistry(configuration, logger: logger)
    let cluster = ["10.244.0.0/16", "fd44::/48"].compactMap { AddressBlock($0) }
    let running = Task { [weak self] in
      await registry.follow(own: own, cluster: cluster) { [weak self] view in self?.views.withLock { $0.append(view) } }
    }
    task.withLock { $0 = running }
  }

  /// As the death of a daemon: nothing is given back.
  func stop() async {
    let running = task.withLock { $0 }
    running?.cancel()
    await running?.value
  }
}

/// A real etcd; each case has keys of its own.
@Suite(.serialized, .enabled(if: EtcdServer.isAsked, EtcdServer.reason))
struct EtcdTests {
  /// - Parameter lease: seconds: short only where its end is what is waited for.
  private func configuration(_ server: EtcdServer, _ prefix: String, lease: Int = 20) -> NodeRegistryConfiguration {
    var etcd = EtcdConfiguration(endpoints: ["http://127.0.0.1:1", server.url])
    etcd.prefix = "/" + prefix
    etcd.leaseSeconds = lease
    return NodeRegistryConfiguration(source: .etcd(etcd))
  }

  private func node(_ name: String, _ number: Int, blocks: [String] = []) -> NodeRecord {
    NodeRecord(name: name, podCIDRs: blocks, address4: "198.18.1.\(number)", address6: nil)
  }

  private func with(_ body: (EtcdServer) async throws -> Void) async throws {
    let server = try await EtcdServer(port: 23790)
    defer { server.close() }
    try await body(server)
  }

  @Test func nodesThatComeAtOnceGetDifferentBlocksAndTheSameAgain() async throws {
    try await with { server in
      let settings = configuration(server, "claims")
      let followers = try (1...24).map { try Follower(node("node-\($0)", $0), settings) }
      try await eventually("all have blocks and know each other") {
        followers.allSatisfy { $0.view.ownBlocks.count == 2 && $0.view.nodes.count == 24 && $0.view.trouble == nil }
      }
      let blocks = followers.map(\.view.ownBlocks)
      #expect(Set(blocks.map { $0[0] }).count == 24 && Set(blocks.map { $0[1] }).count == 24)
      for follower in followers { await follower.stop() }
      let again = try Follower(node("node-7", 7), settings)
      try await eventually("the same name gets the same") { again.view.ownBlocks == blocks[6] }
      await again.stop()
    }
  }

  @Test func aTakenNameIsRefusedUnlessItIsTakenOver() async throws {
    try await with { server in
      var settings = configuration(server, "names")
      let first = try Follower(node("a", 1), settings)
      try await eventually("the first has blocks") { !first.view.ownBlocks.isEmpty }
      let blocks = first.view.ownBlocks
      let second = try Follower(node("a", 2), settings)
      try await eventually("the second is refused") { second.view.trouble?.contains("198.18.1.1") == true }
      #expect(second.view.ownBlocks.isEmpty)
      await second.stop()
      settings.takeOver = true
      let third = try Follower(node("a", 3), settings)
      try await eventually("the third has the first's blocks") { third.view.ownBlocks == blocks }
      try await eventually("the first is told") { first.view.trouble?.contains("198.18.1.3") == true }
      await first.stop()
      await third.stop()
    }
  }

  @Test func aBlockOfAnotherIsRefused() async throws {
    try await with { server in
      let settings = configuration(server, "blocks")
      let first = try Follower(node("a", 1, blocks: ["10.244.8.0/24"]), settings)
      try await eventually("the first is there") { first.names == ["a"] }
      for blocks in [["10.244.8.0/24"], ["10.244.8.128/25"]] {
        let second = try Follower(node("b", 2, blocks: blocks), settings)
        try await eventually("\(blocks) refused") { second.view.trouble?.contains("belongs to node a") == true }
        await second.stop()
      }
      await first.stop()
    }
  }

  @Test func aSilentNodeStaysForAWhileAndItsClaimForEver() async throws {
    try await with { server in
      var settings = configuration(server, "silent", lease: 2)
      settings.keepSilent = .seconds(3)
      let (a, b) = (try Follower(node("a", 1), settings), try Follower(node("b", 2), settings))
      try await eventually("both are there") { a.names == ["a", "b"] && b.names == ["a", "b"] }
      let blocks = b.view.ownBlocks
      await b.stop()
      // For three seconds, in which nobody may look.
      try await eventually("it is silent, and there") {
        a.history.contains { $0.silent == ["b"] && $0.nodes.map(\.name) == ["a", "b"] }
      }
      try await eventually("it is gone") { a.names == ["a"] }
      let back = try Follower(node("b", 2), settings)
      try await eventually("it is back with its blocks") {
        a.names == ["a", "b"] && a.view.silent.isEmpty && back.view.ownBlocks == blocks
      }
      await a.stop()
      await back.stop()
    }
  }

  @Test func anOutageChangesNothingAndAfterItAllIsWell() async throws {
    try await with { server in
      let settings = configuration(server, "outage")
      let (a, b) = (try Follower(node("a", 1), settings), try Follower(node("b", 2), settings))
      try await eventually("both are there") { a.names == ["a", "b"] && b.names == ["a", "b"] }
      let before = a.view
      server.kill()
      try await eventually("trouble is told") { a.view.trouble != nil && b.view.trouble != nil }
      #expect(a.view.nodes == before.nodes && a.view.ownBlocks == before.ownBlocks)
      let late = try Follower(node("c", 3), settings)
      try await eventually("no new claim") { late.view.trouble != nil }
      #expect(late.view.ownBlocks.isEmpty)
      try await server.start()
      try await eventually("all is well") {
        [a, b, late].allSatisfy { $0.view.trouble == nil && $0.names == ["a", "b", "c"] }
      }
      #expect(a.view.ownBlocks == before.ownBlocks)
      for follower in [a, b, late] { await follower.stop() }
    }
  }

  /// A watch from a revision that the store has forgotten: everything is read anew.
  @Test func compactionIsSurvived() async throws {
    try await with { server in
      let etcd = try EtcdClient(EtcdConfiguration(endpoints: [server.url]))
      for number in 0..<5 {
        _ = try await etcd.commit(EtcdTransaction(compare: [], success: [.put("/x/key", "\(number)")]))
      }
      let revision = try await etcd.list("/x/").revision
      try await etcd.compact(revision)
      try await etcd.watch("/x/", from: 2) { _ in Issue.record("changes of a revision that is forgotten") }
      await etcd.shutdown()
    }
  }

  @Test func aRecordThatMakesNoSenseIsNamedAndConcernsNobodyElse() async throws {
    try await with { server in
      let settings = configuration(server, "nonsense")
      let (a, b) = (try Follower(node("a", 1), settings), try Follower(node("b", 2), settings))
      try await eventually("both are there") { a.names == ["a", "b"] }
      let etcd = try EtcdClient(EtcdConfiguration(endpoints: [server.url]))
      let keys = EtcdKeys(prefix: "/nonsense")
      let nonsense: [EtcdTransaction.Operation] = [
        .put(keys.node("c"), "{"), .put(keys.live("c"), "c"), .put(keys.all + "other", "x"),
      ]
      #expect(try await etcd.commit(EtcdTransaction(compare: [], success: nonsense)))
      try await eventually("it is named, and no trouble") {
        a.view.unreadable == ["c"] && a.names == ["a", "b"] && a.view.trouble == nil
      }
      await etcd.shutdown()
      for follower in [a, b] { await follower.stop() }
    }
  }

  @Test func ownKeysThatSomebodyRemovesComeBack() async throws {
    try await with { server in
      let settings = configuration(server, "removed")
      let a = try Follower(node("a", 1), settings)
      try await eventually("it is there") { a.names == ["a"] }
      let blocks = a.view.ownBlocks
      let etcd = try EtcdClient(EtcdConfiguration(endpoints: [server.url]))
      let keys = EtcdKeys(prefix: "/removed")
      var removal: [EtcdTransaction.Operation] = [.delete(keys.node("a")), .delete(keys.live("a"))]
      removal += blocks.map { .delete(keys.subnet($0)) }
      #expect(try await etcd.commit(EtcdTransaction(compare: [], success: removal)))
      try await eventually("all is back") { try await etcd.list(keys.all).pairs.count == 2 + blocks.count }
      #expect(a.view.ownBlocks == blocks)
      await etcd.shutdown()
      await a.stop()
    }
  }
}
