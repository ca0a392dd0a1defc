import Glibc
import Logging
import Testing

@testable import ImageStore

/// A private directory with a store in it, and beside it a tree that nothing may touch (ATTACKS.md H2).
final class StoreFixture: Sendable {
  let base: String
  let store: ImageStore
  let canary: String
  private let before: [String]

  init(_ change: (inout RegistryConfiguration) -> Void = { _ in }) throws {
    base = "/tmp/swiftlet-images-\(String(UInt64.random(in: .min ... .max), radix: 36))"
    canary = base + "/canary"
    try #require(mkdir(base, 0o755) == 0)
    try #require(mkdir(canary, 0o755) == 0)
    try #require(mkdir(canary + "/dir", 0o700) == 0)
    for name in ["secret", "dir/inner"] {
      let file = open("\(canary)/\(name)", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      try #require(file >= 0)
      try #require(Glibc.write(file, "keep", 4) == 4)
      close(file)
    }
    try #require(symlink("secret", canary + "/link") == 0)
    before = Self.describe(canary)
    var configuration = RegistryConfiguration()
    change(&configuration)
    store = try ImageStore(root: base + "/store", configuration: configuration, logger: Self.logger)
  }

  deinit { _ = Self.run("/bin/rm", ["-rf", base]) }

  static var logger: Logger {
    var logger = Logger(label: "images")
    logger.logLevel = .critical
    return logger
  }

  /// Name, inode, mode, owner, size, change time and content of all below `path`.
  static func describe(_ path: String) -> [String] {
    var found = stat()
    guard lstat(path, &found) == 0 else { return ["\(path): gone"] }
    var lines = [
      "\(path) \(found.st_ino) \(found.st_mode) \(found.st_uid):\(found.st_gid) \(found.st_size) \(found.st_nlink)"
        + " \(found.st_mtim.tv_sec).\(found.st_mtim.tv_nsec) \(found.st_ctim.tv_sec).\(found.st_ctim.tv_nsec)"
    ]
    if found.st_mode & S_IFMT == S_IFREG { lines.append(text(path)) }
    guard found.st_mode & S_IFMT == S_IFDIR else { return lines }
    for name in names(path).sorted() { lines += describe("\(path)/\(name)") }
    return lines
  }

  static func names(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  static func text(_ path: String) -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard file >= 0 else { return "" }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = read(file, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }

  /// The canary tree is as it was, and nothing but the store stands beside it.
  func expectUntouched(_ comment: Comment? = nil, location: SourceLocation = #_sourceLocation) {
    #expect(Self.describe(canary) == before, comment, sourceLocation: location)
    #expect(
      Self.names(base).filter { !$0.hasSuffix(".tar") }.sorted() == ["canary", "store"], comment,
      sourceLocation: location)
  }

  /// No half-made thing is left.
  func expectNoTemporaries(location: SourceLocation = #_sourceLocation) async {
    await store.sweeper.drain()
    // A file goes with its last owner, which may be the closure of a thread that has told its result already.
    let end = ContinuousClock.now + .seconds(60)
    while Self.names(base + "/store/tmp") != [], ContinuousClock.now < end {
      try? await Task.sleep(for: .milliseconds(2))
    }
    #expect(Self.names(base + "/store/tmp") == [], sourceLocation: location)
  }

  /// Unpacks layers one above the other, as a pull does.
  ///
  /// - Returns: the directory of each, lowest first.
  @discardableResult
  func unpack(_ tars: [[UInt8]]) async throws -> [String] {
    let layers = ImageLayer.chain(of: tars.map { ContentDigest(of: $0) })
    store.layers.hold(layers.map(\.chainID))
    for (index, tar) in tars.enumerated() {
      let file = try blob(tar)
      try await store.unpack(layers[index], above: layers[..<index].map(\.chainID), from: file)
    }
    return layers.map { store.directory.diff($0.chainID) }
  }

  func blob(_ bytes: [UInt8]) throws -> TemporaryFile {
    let path = store.directory.temporaryName("test")
    try writePrivately(bytes, to: path, synced: false)
    return TemporaryFile(path)
  }

  static func run(_ program: String, _ arguments: [String]) -> Int32 {
    var pid = pid_t()
    var pointers: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    guard posix_spawn(&pid, program, nil, nil, pointers, environ) == 0 else { return -1 }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status >> 8
  }
}

/// What this process has used of the processors: of a duration the part that nothing else has any in.
func processorTime() -> Duration {
  var now = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now)
  return .seconds(now.tv_sec) + .nanoseconds(now.tv_nsec)
}

/// These tests make device nodes and files of other owners and mount overlays. Not asked for they are skipped; asked
/// for without root they fail.
func isKernelTestWanted() -> Bool { getenv("SWIFTLET_KERNEL_TESTS").map { String(cString: $0) } == "1" }

@Suite struct KernelTestPermission {
  @Test(.enabled(if: isKernelTestWanted(), "SWIFTLET_KERNEL_TESTS is not 1"))
  func isRoot() { #expect(geteuid() == 0, "SWIFTLET_KERNEL_TESTS=1 needs root") }
}
