import CSQLite
import FoundationEssentials
import Glibc
import RuntimeModel
import Testing

@testable import Store

/// A directory of the test's own, gone with it.
final class Scratch {
  let path: String
  var database: String { "\(path)/state.db" }

  init() throws {
    var template = Array("/tmp/swiftlet-store-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { buffer in
      buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
    }
    path = try #require(made)
  }

  func names() -> [String] {
    guard let stream = opendir(path) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  func bytes() -> [UInt8]? {
    (try? Data(contentsOf: URL(filePath: database))).map { Array($0) }
  }

  func write(_ bytes: [UInt8], at offset: Int = 0) {
    let file = open(database, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    pwrite(file, bytes, bytes.count, off_t(offset))
    close(file)
  }

  deinit {
    for name in names() { unlink("\(path)/\(name)") }
    rmdir(path)
  }
}

func sandbox(_ name: String, ipv4: String? = nil, ipv6: String? = nil) -> SandboxRecord {
  let lease =
    ipv4 == nil && ipv6 == nil
    ? nil : AddressLease(ipv4: ipv4, ipv6: ipv6, mac: "0a:58:0a:f4:01:02", hostInterface: "pod0af40102")
  return SandboxRecord(
    id: .random(), metadata: SandboxMetadata(name: name, namespace: "default", uid: "u", attempt: 0), state: .creating,
    createdAt: 1, bootID: "b", runtimeHandler: "", config: Data([0, 1, 0xff]), cgroupParent: "/swiftlet", lease: lease)
}

func container(_ name: String, in sandbox: SandboxRecord) -> ContainerRecord {
  ContainerRecord(
    id: .random(), sandboxID: sandbox.id, metadata: ContainerMetadata(name: name, attempt: 0), createdAt: 2,
    imageID: "sha256:00", imageName: "nginx", imageReference: "nginx@sha256:00", config: Data([1]),
    startRequest: Data([2, 3]),
    usesDefaultSeccomp: true, isPrivileged: false, allowedDevices: [], stopSignal: 15, logPath: "")
}

struct RecordStoreTests {
  let scratch = Result { try Scratch() }

  @Test func `what was written is read back by the next daemon`() throws {
    let scratch = try scratch.get()
    var one = sandbox("one", ipv4: "10.244.1.2", ipv6: "fd44:1::2")
    let inside = container("web", in: one)
    do {
      let store = try RecordStore(path: scratch.database)
      try store.insert(one)
      try store.insert(inside)
      one.state = .ready
      one.shim = ProcessIdentity(pid: 7, startTime: 8)
      try store.update(one)
    }
    let records = try RecordStore(path: scratch.database).load()
    #expect(records.sandboxes == [one])
    #expect(records.containers == [inside])
    #expect(records.damaged.isEmpty && records.findings.isEmpty)
  }

  @Test func `a name is taken once, and the holder is told`() throws {
    let store = try RecordStore(path: try scratch.get().database)
    let one = sandbox("one")
    let other = sandbox("one")
    try store.insert(one)
    #expect(throws: StoreError.nameTaken(holder: one.id)) { try store.insert(other) }
    let first = container("web", in: one)
    try store.insert(first)
    #expect(throws: StoreError.nameTaken(holder: first.id)) { try store.insert(container("web", in: one)) }
    try store.remove(sandbox: one.id)
    try store.insert(other)
    #expect(try store.load().sandboxes == [other])
    #expect(try store.load().containers.isEmpty)
  }

  @Test func `an address is leased once, and a refused insert leaves nothing`() throws {
    let store = try RecordStore(path: try scratch.get().database)
    var one = sandbox("one", ipv4: "10.244.1.2", ipv6: "fd44:1::2")
    let two = sandbox("two", ipv4: "10.244.1.3", ipv6: "fd44:1::2")
    try store.insert(one)
    #expect(throws: StoreError.addressTaken(address: "fd44:1::2")) { try store.insert(two) }
    #expect(try store.load().sandboxes == [one])
    // 10.244.1.3 was part of the transaction that failed.
    try store.insert(sandbox("three", ipv4: "10.244.1.3"))
    one.lease = nil
    try store.update(one)
    try store.insert(two.with(ipv4: "10.244.1.4"))
  }

  @Test func `an update of nothing and a container of no sandbox are errors, a removal is not`() throws {
    let store = try RecordStore(path: try scratch.get().database)
    let one = sandbox("one")
    let inside = container("web", in: one)
    #expect(throws: StoreError.notFound(one.id)) { try store.update(one) }
    #expect(throws: StoreError.notFound(inside.id)) { try store.update(inside) }
    #expect(throws: StoreError.notFound(one.id)) { try store.insert(inside) }
    try store.remove(sandbox: one.id)
    try store.remove(container: inside.id)
  }

  @Test func `one bad row is told and stops nothing`() throws {
    let scratch = try scratch.get()
    let good = sandbox("good")
    let bad = sandbox("bad", ipv4: "10.244.1.9")
    let store = try RecordStore(path: scratch.database)
    try store.insert(good)
    try store.insert(bad)
    let database = try Database(path: scratch.database)
    try database.run("UPDATE sandboxes SET record = ? WHERE id = ?", [.blob([0x7b]), .text(bad.id.value)])
    let records = try store.load()
    #expect(records.sandboxes == [good])
    let row = try #require(records.damaged.first)
    #expect(records.damaged.count == 1 && row.kind == .sandbox && row.id == bad.id.value)
    #expect(row.reason.contains(bad.id.value))
    // Something of it may be alive: its address stays taken until the row goes.
    #expect(throws: StoreError.addressTaken(address: "10.244.1.9")) {
      try store.insert(sandbox("new", ipv4: "10.244.1.9"))
    }
    try store.remove(row)
    try store.insert(sandbox("bad", ipv4: "10.244.1.9"))
    #expect(try store.load().damaged.isEmpty)
  }

  @Test func `a file that is no database is set aside and said so`() throws {
    let scratch = try scratch.get()
    scratch.write(Array(repeating: 0x41, count: 8192))
    let store = try RecordStore(path: scratch.database)
    let findings = try store.load().findings
    #expect(findings.count == 1)
    #expect(findings.first?.contains("was damaged") == true)
    #expect(scratch.names().contains { $0.hasPrefix("state.db.damaged-") })
    try store.insert(sandbox("one"))
  }

  @Test func `of a database with a broken page the others are kept`() throws {
    let scratch = try scratch.get()
    var made: [SandboxRecord] = []
    do {
      let store = try RecordStore(path: scratch.database)
      for index in 0..<50 {
        made.append(sandbox("\(index)", ipv4: "10.0.0.\(index)"))
        try store.insert(made[index])
        try store.insert(container("web", in: made[index]))
      }
    }
    let whole = try #require(scratch.bytes())
    let pages = whole.count / 4096
    #expect(pages > 20)
    var kept: [Int] = []
    for page in 1..<pages {
      for name in scratch.names() { unlink("\(scratch.path)/\(name)") }
      scratch.write(whole)
      scratch.write(Array(repeating: 0xa5, count: 64), at: page * 4096)
      let store = try RecordStore(path: scratch.database)
      let records = try store.load()
      #expect(records.damaged.isEmpty)
      #expect(Set(records.sandboxes).isSubset(of: made))
      if records.sandboxes.count < 50 || records.containers.count < 50 { #expect(records.findings.count == 1) }
      kept.append(min(records.sandboxes.count, records.containers.count))
      for record in records.sandboxes.prefix(1) {
        #expect(throws: StoreError.self) { try store.insert(sandbox("new", ipv4: record.lease?.ipv4)) }
      }
    }
    // All but the pages at the top of the two tables.
    #expect(kept.count { $0 >= 30 } >= kept.count - 2, "\(kept)")
  }

  @Test func `a later version's file is left alone`() throws {
    let scratch = try scratch.get()
    try Database(path: scratch.database).run("PRAGMA user_version = 99")
    let before = scratch.bytes()
    let refusal = StoreError.laterFormat(
      LaterFormat(subject: "the database \(scratch.database)", found: 99, known: RecordStore.schemaVersion))
    #expect(throws: refusal) { try RecordStore(path: scratch.database) }
    #expect(scratch.bytes() == before && !scratch.names().contains { $0.contains("damaged") })
  }

  @Test(arguments: ["sandboxes", "containers"])
  func `a later version's row is no damage, whatever else is in it`(table: String) throws {
    let scratch = try scratch.get()
    let one = sandbox("one")
    do {
      let store = try RecordStore(path: scratch.database)
      try store.insert(one)
      try store.insert(container("web", in: one))
    }
    let later = Array(#"{"version": 7, "record": {"id": 8}}"#.utf8)
    try Database(path: scratch.database).run("UPDATE \(table) SET record = ?", [.blob(later)])
    let before = scratch.bytes()
    let error = #expect(throws: StoreError.self) { try RecordStore(path: scratch.database) }
    guard case .laterFormat(let format) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(format.found == 7 && format.known == Int64(RecordCoding.version))
    #expect(format.subject.contains(scratch.database) && format.subject.contains(table.dropLast(2)))
    #expect(scratch.bytes() == before)
  }

  @Test func `the file is ours alone`() throws {
    let scratch = try scratch.get()
    let store = try RecordStore(path: scratch.database)
    try store.insert(sandbox("one"))
    var status = stat()
    #expect(stat(scratch.database, &status) == 0)
    #expect(status.st_mode & 0o077 == 0)
  }

  @Test func `a change takes well under a millisecond`() throws {
    let store = try RecordStore(path: try scratch.get().database)
    var times: [Duration] = []
    for index in 0..<300 {
      var one = sandbox("\(index)", ipv4: "10.1.\(index / 250).\(index % 250)")
      one.config = Data(repeating: 7, count: 1500)
      times.append(try ContinuousClock().measure { try store.insert(one) })
    }
    times.sort()
    print("insert of a sandbox with its lease: p50 \(times[150]), p95 \(times[285])")
    #expect(times[150] < .milliseconds(5))
  }
}

extension SandboxRecord {
  fileprivate func with(ipv4: String) -> SandboxRecord {
    var copy = self
    copy.lease?.ipv4 = ipv4
    return copy
  }
}
