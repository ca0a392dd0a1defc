import CRIProtocol
import SwiftProtobuf
import Testing

@testable import CRIClient

@Suite struct LookupTests {
  private static func sandbox(
    _ id: String, _ name: String, namespace: String = "default", isReady: Bool = true, at: Int64 = 1
  ) -> Runtime_V1_PodSandbox {
    .with {
      $0.id = id
      $0.metadata.name = name
      $0.metadata.namespace = namespace
      $0.state = isReady ? .sandboxReady : .sandboxNotready
      $0.createdAt = at
    }
  }

  private static func container(
    _ id: String, _ name: String, in pod: String, isRunning: Bool = true
  ) -> Runtime_V1_Container {
    .with {
      $0.id = id
      $0.metadata.name = name
      $0.podSandboxID = pod
      $0.state = isRunning ? .containerRunning : .containerExited
    }
  }

  private static let inventory = Inventory(
    sandboxes: [
      sandbox("aa22", "web", isReady: false, at: 3), sandbox("aa11", "web", at: 2),
      sandbox("bb11", "web", namespace: "test"),
      sandbox("cc11", "database"),
    ],
    containers: [
      container("dd11", "app", in: "aa11"), container("dd12", "app", in: "cc11", isRunning: false),
      container("ee11", "side", in: "aa11"), container("ff11", "app", in: "bb11"), container("ff22", "db", in: "cc11"),
      container("ff33", "db", in: "cc11", isRunning: false),
    ])

  @Test(arguments: [
    ("aa11", "aa11"), ("default/web", "aa11"), ("test/web", "bb11"), ("database", "cc11"), ("data", "cc11"),
    ("default/web/app", "dd11"), ("test/web/app", "ff11"), ("web/side", "ee11"), ("side", "ee11"), ("db", "ff22"),
    ("e", "ee11"), ("cc", "cc11"), ("database/db", "ff22"),
  ])
  func oneMatch(text: String, id: String) throws {
    #expect(try Self.inventory.find(text).id == id)
  }

  @Test(arguments: [("web", 2), ("aa", 2), ("app", 3), ("web/app", 2), ("f", 3)])
  func severalMatches(text: String, count: Int) {
    #expect { try Self.inventory.find(text) } throws: { error in
      guard let error = error as? ClientError else { return false }
      return error.status == .failed && error.details.count == count && error.what == "\"\(text)\" is ambiguous"
    }
  }

  @Test(arguments: ["nothing", "web/nothing", "other/web", "99"]) func noMatch(text: String) {
    #expect { try Self.inventory.find(text) } throws: { ($0 as? ClientError)?.status == .notFound }
  }

  @Test func aPodStandsForItsOnlyContainer() throws {
    #expect(try Self.inventory.findContainer("test/web").id == "ff11")
    #expect { try Self.inventory.findContainer("default/web") } throws: {
      ($0 as? ClientError)?.details == ["web/app", "web/side"]
    }
    #expect { try Self.inventory.findPod("side") } throws: { ($0 as? ClientError)?.status == .failed }
  }
}
