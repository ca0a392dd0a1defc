import FoundationEssentials
import RuntimeModel
import Testing

struct IdentifierTests {
  @Test func `an identifier is 64 lower-case hexadecimal characters`() {
    let text = String(repeating: "0a", count: 32)
    #expect(Identifier(text)?.value == text)
    #expect(Identifier(text)?.short == "0a0a0a0a0a0a")
    for bad in ["", "0a", text + "0", text.uppercased(), String(text.dropLast()) + "g", String(text.dropLast()) + "/"] {
      #expect(Identifier(bad) == nil, "\(bad)")
    }
    // 64 characters, but not 64 bytes of hexadecimal digits.
    #expect(Identifier(String(repeating: "\u{0661}", count: 64)) == nil)
  }

  @Test func `random ones are valid and differ`() {
    let some = (0..<1000).map { _ in Identifier.random() }
    #expect(some.allSatisfy { Identifier($0.value) == $0 })
    #expect(Set(some).count == some.count)
  }
}

struct NameKeyTests {
  @Test func `each part of a name counts`() {
    let base = SandboxMetadata(name: "a", namespace: "b", uid: "c", attempt: 1)
    let others = [
      SandboxMetadata(name: "x", namespace: "b", uid: "c", attempt: 1),
      SandboxMetadata(name: "a", namespace: "x", uid: "c", attempt: 1),
      SandboxMetadata(name: "a", namespace: "b", uid: "x", attempt: 1),
      SandboxMetadata(name: "a", namespace: "b", uid: "c", attempt: 2),
      SandboxMetadata(name: "ab", namespace: "", uid: "c", attempt: 1),
    ]
    #expect(Set((others + [base]).map(\.key)).count == others.count + 1)
  }

  @Test func `a container's name counts within its sandbox`() {
    let metadata = ContainerMetadata(name: "web", attempt: 0)
    let (one, two) = (Identifier.random(), Identifier.random())
    #expect(metadata.key(in: one) != metadata.key(in: two))
    #expect(metadata.key(in: one) != ContainerMetadata(name: "web", attempt: 1).key(in: one))
    #expect(metadata.key(in: one) == ContainerMetadata(name: "web", attempt: 0).key(in: one))
  }
}

struct ContainerStateTests {
  @Test func `the times make the state`() {
    var record = ContainerRecord(
      id: .random(), sandboxID: .random(), metadata: ContainerMetadata(name: "web", attempt: 0), createdAt: 1,
      imageID: "", imageName: "", imageReference: "", config: Data(), startRequest: Data(), usesDefaultSeccomp: true,
      isPrivileged: false, allowedDevices: [], stopSignal: 15, logPath: "")
    #expect(record.state == .created)
    record.isStarting = true
    #expect(record.state == .created)
    record.startedAt = 2
    #expect(record.state == .running)
    record.finishedAt = 3
    #expect(record.state == .exited)
    // A start that failed never began.
    record.startedAt = 0
    #expect(record.state == .exited)
  }

  @Test func `addresses come in the order of the CRI`() {
    let both = AddressLease(ipv4: "10.0.0.1", ipv6: "fd::1", mac: "", hostInterface: "")
    #expect(both.addresses == ["10.0.0.1", "fd::1"])
    #expect(AddressLease(ipv4: nil, ipv6: "fd::1", mac: "", hostInterface: "").addresses == ["fd::1"])
  }
}

struct PrefixIndexTests {
  @Test func `a prefix finds one, none, or says that it is not enough`() throws {
    let one = try #require(Identifier(String(repeating: "a", count: 64)))
    let two = try #require(Identifier("ab" + String(repeating: "0", count: 62)))
    var index = PrefixIndex<Int>()
    index[one] = 1
    index[two] = 2
    func found(_ text: String) -> String {
      switch index.find(text) {
      case .none: "none"
      case .one(let value): "\(value)"
      case .ambiguous: "ambiguous"
      }
    }
    #expect(found("aa") == "1" && found("ab") == "2" && found("a") == "ambiguous")
    #expect(found("") == "none" && found("b") == "none" && found(one.value) == "1")
    #expect(found(one.value + "a") == "none" && found("AB") == "none")
    index[one] = nil
    #expect(found("a") == "2" && index.all.count == 1)
  }
}
