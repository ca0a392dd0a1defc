import Testing

@testable import CRIClient

@Suite struct SocketTests {
  private func choose(_ option: String?, _ variables: [String: String] = [:]) throws -> SocketChoice {
    try SocketChoice.choose(option: option) { variables[$0] }
  }

  @Test func theOrderOfSources() throws {
    let both = ["SWIFTLET_SOCKET": "/a", "CONTAINER_RUNTIME_ENDPOINT": "unix:///b"]
    #expect(try choose("/o", both) == SocketChoice(path: "/o", source: "--socket"))
    #expect(try choose(nil, both) == SocketChoice(path: "/a", source: "SWIFTLET_SOCKET"))
    #expect(
      try choose(nil, ["CONTAINER_RUNTIME_ENDPOINT": "unix:///b"])
        == SocketChoice(path: "/b", source: "CONTAINER_RUNTIME_ENDPOINT"))
    #expect(
      try choose(nil, ["SWIFTLET_SOCKET": ""]) == SocketChoice(path: SocketChoice.defaultPath, source: "the default"))
  }

  @Test(arguments: [("/x", "/x"), ("unix:///x", "/x"), ("unix:/x", "/x"), ("rel/x", "rel/x")])
  func forms(text: String, path: String) throws {
    #expect(try choose(text).path == path)
  }

  @Test(arguments: ["tcp://1.2.3.4:5", "unix://", ""]) func refused(text: String) {
    #expect { try choose(text) } throws: { ($0 as? ClientError)?.status == .usage }
  }

  @Test func aMissingSocketIsUnreachable() throws {
    let choice = SocketChoice(path: "/nonexistent/swiftlet.sock", source: "--socket")
    #expect { try choice.probe() } throws: { error in
      let error = error as? ClientError
      return error?.status == .unreachable && error?.why == "there is no such socket" && error?.remedy != nil
    }
    let long = SocketChoice(path: "/" + String(repeating: "x", count: 108), source: "--socket")
    #expect { try long.probe() } throws: { ($0 as? ClientError)?.why?.contains("longer than the 107 bytes") ?? false }
  }

  @Test(arguments: [
    (["--socket", "/s", "ps", "-a"], ["ps", "--socket", "/s", "-a"]),
    (["-o", "json", "--socket=/s", "pods"], ["pods", "-o", "json", "--socket=/s"]),
    (["ps"], ["ps"]), (["--version"], ["--version"]), (["--socket", "/s"], ["--socket", "/s"]),
    (["exec", "web", "ls", "-l"], ["exec", "web", "--", "ls", "-l"]),
    (["exec", "--timeout", "3", "web", "env", "--", "x"], ["exec", "--timeout", "3", "web", "--", "env", "--", "x"]),
    (["exec", "web", "--timeout", "3", "--", "ls"], ["exec", "web", "--timeout", "3", "--", "ls"]),
    (["exec", "web"], ["exec", "web"]),
    (["run", "--host-network", "busybox", "sleep", "5"], ["run", "--host-network", "busybox", "--", "sleep", "5"]),
    (["run", "busybox", "--name", "x"], ["run", "busybox", "--name", "x"]),
    (["logs", "web", "x"], ["logs", "web", "x"]),
  ])
  func wordsMayStandWherePeoplePutThem(given: [String], expected: [String]) {
    #expect(ArgumentOrder.normalise(given) == expected)
  }
}
