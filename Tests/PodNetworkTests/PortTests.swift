import RuntimeModel
import Testing

@testable import PodNetwork

@Suite struct PortTests {
  private let a = Identifier.random()
  private let b = Identifier.random()
  private let pod = ["10.244.1.2", "fd44:1::2"].compactMap { IPAddress($0) }

  private func port(_ host: UInt16, _ pod: UInt16 = 80, _ ip: String? = nil, udp: Bool = false) -> HostPort {
    HostPort(transport: udp ? .udp : .tcp, hostPort: host, containerPort: pod, hostIP: ip)
  }

  private func published(_ ports: [HostPort]) throws -> Set<PublishedPort> {
    try PublishedPort.all(ports, pod: pod)
  }

  @Test func aPortWithoutAddressIsOfBothFamilies() throws {
    let elements = try published([port(8080), port(0)]).map { "\($0.map) \($0.element)" }.sorted()
    #expect(elements == ["port4 tcp . 8080 : 10.244.1.2 . 80", "port6 tcp . 8080 : fd44:1::2 . 80"])
  }

  @Test func anAddressChoosesItsFamily() throws {
    #expect(
      try published([port(8080, 80, "192.0.2.1")]).map { "\($0.map) \($0.element)" } == [
        "portip4 192.0.2.1 . tcp . 8080 : 10.244.1.2 . 80"
      ])
    #expect(try published([port(8080, 80, "0.0.0.0")]).map(\.map) == ["port4"])
    #expect(try published([port(8080, 80, "::")]).map(\.map) == ["port6"])
  }

  @Test(
    arguments: [
      ("x", UInt16(80), "host port 8080 has host IP \"x\", which is no address"),
      ("::1", 80, "host port 8080 cannot be on ::1: the kernel translates no IPv6 loopback"),
      (nil, 0, "host port 8080 has container port 0"),
    ] as [(String?, UInt16, String)])
  func whatCannotBePublishedIsSaid(ip: String?, podPort: UInt16, text: String) {
    let error = #expect(throws: NetworkError.self) { try published([port(8080, podPort, ip)]) }
    #expect(error?.description == text)
  }

  /// Keys and values as nf_tables holds concatenations: each field fills whole words.
  @Test func elementsInBytes() throws {
    let elements = try published([port(8080, 80, "192.0.2.1", udp: true)]).flatMap(\.elements)
    #expect(
      elements == [
        .init(
          set: "portip4", key: [192, 0, 2, 1, 17, 0, 0, 0, 0x1f, 0x90, 0, 0], value: [10, 244, 1, 2, 0, 80, 0, 0]),
        .init(set: "hairpin4", key: [10, 244, 1, 2, 10, 244, 1, 2], value: nil),
      ])
    var batch = ElementBatch(table: "podnet")
    batch.add(elements)
    // One message for each set.
    #expect(batch.messages.count == 2)
    #expect(
      batch.messages[0].payload == [1, 0, 0, 0]  // NFPROTO_INET
        + [11, 0, 1, 0] + Array("podnet".utf8) + [0, 0]
        + [13, 0, 2, 0] + Array("hairpin4".utf8) + [0, 0, 0, 0]
        + [24, 0, 3, 0x80, 20, 0, 1, 0x80, 16, 0, 1, 0x80, 12, 0, 1, 0, 10, 244, 1, 2, 10, 244, 1, 2])
  }

  @Test func manyElementsAreManyMessages() {
    var batch = ElementBatch(table: "podnet")
    batch.remove((0..<1000).map { .init(set: "hairpin4", key: [0, 0, UInt8($0 >> 8), UInt8($0 & 0xff)], value: nil) })
    #expect(batch.messages.count == 2)
    #expect(batch.messages.allSatisfy { $0.payload.count < 1 << 16 })
  }

  @Test func loopbackCanBeOff() throws {
    let error = #expect(throws: NetworkError.self) {
      try PublishedPort.all([port(80, 80, "127.0.0.2")], pod: pod, localhost: false)
    }
    #expect(error?.description == "host port 80 is for 127.0.0.2, and network.host_ports.localhost is false")
  }

  /// ATTACKS.md N03.
  @Test(
    arguments: [
      (nil, nil, false, false, true), ("127.0.0.1", nil, false, false, true),
      ("127.0.0.1", "0.0.0.0", false, false, true),
      ("127.0.0.1", "192.0.2.1", false, false, false), (nil, nil, true, false, false),
      ("0.0.0.0", "::", false, false, false),
      (nil, "::", true, true, true),
    ] as [(String?, String?, Bool, Bool, Bool)])
  func onePortHasOneOwner(first: String?, second: String?, udp1: Bool, udp2: Bool, collides: Bool) throws {
    var claims = PortClaims()
    try claims.claim(published([port(80, 80, first, udp: udp1)]), for: a)
    do throws(NetworkError) {
      try claims.claim(PublishedPort.all([port(80, 81, second, udp: udp2)], pod: pod), for: b)
      #expect(!collides)
    } catch {
      #expect(collides)
      #expect("\(error)".hasSuffix("is already published by sandbox \(a.short)"))
    }
    #expect(claims.release(a).isEmpty == false)
    #expect(claims.owners[a] == nil)
  }

  @Test func claimsAreAllOrNothing() throws {
    var claims = PortClaims()
    try claims.claim(published([port(80)]), for: a)
    #expect(throws: NetworkError.self) { try claims.claim(published([port(79), port(80)]), for: b) }
    #expect(claims.owners[b] == nil)
    #expect(throws: NetworkError.self) { try claims.claim(published([port(90, 1), port(90, 2)]), for: b) }
  }
}
