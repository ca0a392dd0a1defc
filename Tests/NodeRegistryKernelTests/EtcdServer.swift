import FoundationEssentials
import Glibc
import Testing

/// Debian's etcd on the loopback of the namespace that the tests run in.
final class EtcdServer {
  static let isAsked = getenv("SWIFTLET_KERNEL_TESTS").map { String(cString: $0) == "1" } ?? false
  static let reason: Comment = "needs root and SWIFTLET_KERNEL_TESTS=1, under unshare -n"

  let port: Int
  let directory: String
  private var pid: pid_t = 0

  var url: String { "http://127.0.0.1:\(port)" }

  init(port: Int) async throws {
    self.port = port
    var template = Array("/var/tmp/swiftlet-etcd-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    try await start()
  }

  /// With the data of before.
  func start() async throws {
    let peer = "http://127.0.0.1:\(port + 1)"
    let words = [
      "etcd", "--name", "test", "--data-dir", directory, "--listen-client-urls", url, "--advertise-client-urls", url,
      "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test=\(peer)",
      "--unsafe-no-fsync",
    ]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor: Int32 in 0...2 {
      posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
    }
    try #require(posix_spawn(&pid, "/usr/bin/etcd", &actions, nil, &arguments, environ) == 0)
    try await eventually("etcd listens") { self.accepts() }
  }

  func kill() {
    guard pid > 0 else { return }
    Glibc.kill(pid, SIGKILL)
    var status: Int32 = 0
    waitpid(pid, &status, 0)
    pid = 0
  }

  func close() {
    kill()
    try? FileManager.default.removeItem(atPath: directory)
  }

  private func accepts() -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { Glibc.close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port).bigEndian)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}

/// Waits until `condition` holds: asked again every few milliseconds up to the deadline.
func eventually(
  within limit: Duration = .seconds(60), _ what: Comment, _ condition: () async throws -> Bool
) async throws {
  let end = ContinuousClock.now + limit
  while try await !condition() {
    try #require(ContinuousClock.now < end, what)
    try await Task.sleep(for: .milliseconds(5))
  }
}
