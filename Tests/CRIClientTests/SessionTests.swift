import Foundation
import RuntimeModel
import Testing

@testable import CRIClient

@Suite struct SessionTests {
  @Test(arguments: [
    ("http://127.0.0.1:4321/exec/abc", "127.0.0.1", 4321, "/exec/abc", "127.0.0.1:4321"),
    ("http://[::1]:80/attach/x?a=%20b", "::1", 80, "/attach/x?a=%20b", "[::1]:80"),
    ("http://node/", "node", 80, "/", "node:80"),
  ])
  func addresses(text: String, host: String, port: Int, target: String, authority: String) throws {
    let url = try SessionURL(text)
    #expect(url.host == host)
    #expect(url.port == port)
    #expect(url.target == target)
    #expect(url.authority == authority)
  }

  @Test(arguments: ["", "https://127.0.0.1:1/x", "http:///x", "127.0.0.1:80/x"])
  func noAddress(text: String) {
    #expect(throws: ClientError.self) { try SessionURL(text) }
  }

  @Test(arguments: [
    (#"{"metadata":{},"status":"Success"}"#, 0),
    (
      #"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}"#,
      42
    ),
  ])
  func exitCodes(document: String, code: Int32) throws {
    #expect(try Self.status(document).exitCode(of: "run x") == code)
  }

  @Test(arguments: [
    (#"{"status":"Failure","reason":"InternalError","message":"no such file"}"#, "no such file"),
    (#"{"status":"Failure","reason":"NonZeroExitCode"}"#, "NonZeroExitCode"),
    (#"{}"#, "the runtime gives no reason"),
  ])
  func failures(document: String, why: String) throws {
    let status = try Self.status(document)
    #expect { try status.exitCode(of: "run x") } throws: { ($0 as? ClientError)?.why == why }
  }

  private static func status(_ document: String) throws -> RemoteStatus {
    try JSONDecoder().decode(RemoteStatus.self, from: Data(document.utf8))
  }

  /// Typed pieces, what is sent of them, and whether the keys came.
  @Test(
    arguments: [
      ([[97, 98]], [97, 98], false),
      ([[0x10, 0x11]], [], true),
      ([[97, 0x10], [0x11, 98]], [97], true),
      ([[0x10, 97]], [0x10, 97], false),
      ([[0x10, 0x10, 0x11]], [0x10], true),
      ([[0x11, 0x10]], [0x11], false),
    ] as [([[UInt8]], [UInt8], Bool)])
  func detachKeys(pieces: [[UInt8]], sent: [UInt8], detaches: Bool) {
    var keys = DetachKeys()
    var rest: [UInt8] = []
    var left = false
    for piece in pieces {
      let (passed, pressed) = keys.pass(piece)
      rest += passed
      left = left || pressed
    }
    #expect(rest == sent)
    #expect(left == detaches)
  }

  @Test func theSizeIsWrittenAsTheProtocolHasIt() throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    let text = String(decoding: try encoder.encode(TerminalSize(width: 80, height: 24)), as: UTF8.self)
    #expect(text == #"{"Height":24,"Width":80}"#)
  }

  @Test(arguments: [("80", 80, 80), ("8080:80", 8080, 80), (":80", 0, 80), ("0:80", 0, 80)])
  func ports(text: String, local: UInt16, remote: UInt16) throws {
    let port = try ForwardedPort(text)
    #expect(port.local == local && port.remote == remote)
  }

  @Test(arguments: ["", "0", ":0", "80:", "x", "1:2:3", "65536", "-1", "+:80"])
  func noPorts(text: String) {
    #expect { try ForwardedPort(text) } throws: { ($0 as? ClientError)?.status == .usage }
  }

  @Test(arguments: [
    (["exec", "-it", "web", "sh", "-l"], ["exec", "-it", "web", "--", "sh", "-l"]),
    (["exec", "web", "-it", "--", "sh"], ["exec", "web", "-it", "--", "sh"]),
    (["run", "-it", "--rm", "busybox", "sh"], ["run", "-it", "--rm", "busybox", "--", "sh"]),
  ])
  func commandsWithoutDashes(given: [String], normalised: [String]) {
    #expect(ArgumentOrder.normalise(given) == normalised)
  }
}
