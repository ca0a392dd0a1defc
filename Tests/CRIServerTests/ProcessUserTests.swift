import CRIProtocol
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct ProcessUserTests {
  private static let database = UserDatabase(
    passwd: Array("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n1:x:0:0::/evil:/bin/sh\n".utf8),
    group: Array("root:x:0:\nstaff:x:50:web,other\nvideo:x:44:web\n".utf8))

  private static func resolve(
    image: String = "", _ change: (inout Runtime_V1_LinuxContainerSecurityContext) -> Void = { _ in }
  ) throws -> ProcessUser {
    var context = Runtime_V1_LinuxContainerSecurityContext()
    change(&context)
    return try ProcessUser(context, imageUser: image, database: database)
  }

  /// Text of an image's User, uid, gid; nil where it must be refused.
  @Test(
    arguments: [
      ("", 0, 0), ("root", 0, 0), ("web", 1000, 1001), ("1000", 1000, 1001), ("1000:5", 1000, 5),
      ("web:video", 1000, 44),
      ("7", 7, 0), ("1", 1, 0), ("01", 1, 0), ("2147483647", 2_147_483_647, 0),
    ] as [(String, UInt32, UInt32)])
  func imageUser(_ text: String, _ uid: UInt32, _ gid: UInt32) throws {
    let user = try Self.resolve(image: text)
    #expect(user.uid == uid && user.gid == gid)
  }

  /// ATTACKS L20: nothing that is not a number or a known name may become root.
  @Test(arguments: [
    "nobody", "1x", "+1", "-1", "1 ", ":5", "web:", "2147483648", "4294967295", "18446744073709551616", "web:nogroup",
  ])
  func refusedImageUsers(_ text: String) {
    #expect(throws: RuntimeError.self) { try Self.resolve(image: text) }
  }

  @Test func `no more groups than the kernel takes, the user's own among them`() throws {
    let most = try Self.resolve { $0.supplementalGroups = Array(0..<65_536) }
    #expect(most.groups.count == 65_536)
    #expect(throws: RuntimeError.self) { try Self.resolve { $0.supplementalGroups = Array(1...65_536) } }
  }

  /// An id that setresuid(2) takes for "as it is", or that no number in a request may be.
  @Test(arguments: ["none", "nogid", "member", "web:nobodys"])
  func idsOfTheImageAreBoundedToo(_ text: String) {
    let database = UserDatabase(
      passwd: Array(
        "web:x:1000:1001::/:\nnone:x:4294967295:1::/:\nnogid:x:5:2147483648::/:\nmember:x:6:6::/:\n".utf8),
      group: Array("nobodys:x:4294967295:\nhuge:x:4294967294:member\n".utf8))
    #expect { try ProcessUser(.init(), imageUser: text, database: database) } throws: { error in
      let error = error as? RuntimeError
      return error?.code == .invalidArgument && error?.message.contains("image User") ?? false
    }
  }

  @Test func accountFilesWithCarriageReturnsAndShortLines() throws {
    let database = UserDatabase(
      passwd: Array("root:x:0:0:root:/root:/bin/sh\r\napp:x:1000:1002\r\n#no:x:1:1::/:\r\nbad:x:one:1::/:".utf8),
      group: Array("root:x:0:\r\nbare:x:77\r\nteam:x:78:app\r\n".utf8))
    let user = try ProcessUser(.init(), imageUser: "app", database: database)
    #expect(user.uid == 1000 && user.groups == [78, 1002] && user.home == "/")
    #expect(try ProcessUser(.init(), imageUser: "app:bare", database: database).gid == 77)
    #expect(try ProcessUser(.init(), imageUser: "root", database: database).home == "/root")
    for name in ["#no", "bad"] {
      #expect(throws: RuntimeError.self) { try ProcessUser(.init(), imageUser: name, database: database) }
    }
  }

  @Test func mergeTakesTheImagesGroupsAndStrictDoesNot() throws {
    let merge = try Self.resolve {
      $0.runAsUser.value = 1000
      $0.supplementalGroups = [1234]
    }
    #expect(merge.groups == [44, 50, 1001, 1234])
    let strict = try Self.resolve {
      $0.runAsUser.value = 1000
      $0.supplementalGroups = [1234]
      $0.supplementalGroupsPolicy = .strict
    }
    #expect(strict.groups == [1001, 1234])
  }

  @Test func groupWithoutUserIsRefused() {
    #expect(throws: RuntimeError.self) { try Self.resolve { $0.runAsGroup.value = 5 } }
  }

  @Test func usernameWinsOverNumber() throws {
    let user = try Self.resolve {
      $0.runAsUser.value = 5
      $0.runAsUsername = "web"
    }
    #expect(user.uid == 1000 && user.home == "/srv")
  }
}
