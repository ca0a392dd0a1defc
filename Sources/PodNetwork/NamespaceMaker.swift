internal import CNetlink
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// Makes network namespaces, each on a thread of its own that ends with it: unshare(2) moves the calling thread, and no
/// thread of the daemon may ever be seen in another namespace.
final class NamespaceMaker: Sendable {
  /// A namespace that nothing but this descriptor holds, and a route socket inside it.
  struct Namespace: Sendable {
    var descriptor: SharedFD
    var routes: NetlinkSocket
  }

  /// The kernel makes them under one lock for the most part; more threads only wait.
  private static let limit = 4

  private typealias Receiver = @Sendable (Result<Namespace, NetworkError>) -> Void

  private struct State {
    var running = 0
    var waiting: [(given: SharedFD?, receiver: Receiver)] = []
  }

  private let state = Mutex(State())

  /// Hands a new namespace to `receiver` on the thread that made it: the next step is another thread's, and a way back
  /// through the cooperative pool would only cost time. `namespaceLimit` where the kernel refuses one more.
  /// - Parameter given: a new namespace that a user namespace owns, with nothing in it yet, instead of one of the node's.
  func make(
    in given: SharedFD? = nil, _ receiver: @escaping @Sendable (Result<Namespace, NetworkError>) -> Void
  ) {
    let mustStart = state.withLock { state in
      state.waiting.append((given, receiver))
      guard state.running < Self.limit else { return false }
      state.running += 1
      return true
    }
    guard mustStart else { return }
    do throws(NetworkError) {
      try startNetworkThread(named: "netns") { [self] in
        while let next = next() {
          next.receiver(Result { () throws(NetworkError) in try Self.makeHere(next.given) })
        }
      }
    } catch {
      // Another thread may still serve it; if there is none, nobody will.
      while let next = next() { next.receiver(.failure(error)) }
    }
  }

  /// One that waits, for a thread that counts itself as running; nil ends that thread.
  private func next() -> (given: SharedFD?, receiver: Receiver)? {
    state.withLock { state in
      guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
      state.running -= 1
      return nil
    }
  }

  private static func makeHere(_ given: SharedFD?) throws(NetworkError) -> Namespace {
    let failed = Failpoint.attachNamespace.reach()
    guard failed == 0 else { throw .namespaceLimit(errno: failed) }
    let descriptor = if let given { try enter(given) } else { try unshared() }
    // Before eth0 is there: duplicate address detection would hold its address back for a second, and nobody on the
    // bridge advertises routers or may redirect.
    for option in ["accept_dad", "accept_ra", "router_solicitations", "accept_redirects"] {
      let name = "ipv6/conf/default/\(option)"
      let failed = Sysctl.write(name, "0")
      if failed == ENOENT { break }  // A kernel without IPv6.
      if failed != 0 { throw .kernel("write 0 to", failed, "/proc/sys/net/\(name) of a new namespace") }
    }
    return Namespace(descriptor: descriptor, routes: try NetlinkSocket(family: NETLINK_ROUTE, receiveBuffer: 1 << 16))
  }

  private static func unshared() throws(NetworkError) -> SharedFD {
    guard cnetlink_unshare_network() == 0 else { throw .namespaceLimit(errno: errno) }
    let raw = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    guard raw >= 0 else { throw .kernel("open", errno, "/proc/thread-self/ns/net") }
    return SharedFD(OwnedFD(owning: raw))
  }

  private static func enter(_ given: SharedFD) throws(NetworkError) -> SharedFD {
    guard cnetlink_enter_network(given.raw) == 0 else { throw .kernel("enter", errno, "a pod's network namespace") }
    return given
  }
}
