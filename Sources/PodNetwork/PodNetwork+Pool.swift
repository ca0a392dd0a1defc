internal import Glibc
internal import LinuxSystem
internal import Logging
internal import RuntimeModel
internal import Synchronization

/// Fills the warm pool, one after another, whenever no attach is on its way.
extension PodNetwork {
  /// With less memory to spare nothing is made in advance.
  private static let memoryFloor = 64 << 20

  /// The warm pool: how many wait for a sandbox, and how many there are to be.
  package var spares: (ready: Int, wanted: Int) { ledger.withLock { ($0.pool.ready.count, $0.pool.size) } }

  /// Makes the next spare pod where one is wanted. Cheap where none is.
  func refill() {
    guard ledger.withLock({ $0.wantsSpare(at: bootTime()) }), Self.availableMemory() >= Self.memoryFloor else { return }
    guard let number = ledger.withLock({ $0.beginSpare(at: bootTime()) }) else { return }
    maker.make { [weak self] made in
      guard let self else { return }
      let isAccepted = writer.submit(whenIdle: true) { [weak self] in self?.addSpare(number, made) }
      if !isAccepted { ledger.withLock { $0.endSpare(number, link: nil, nil, at: bootTime()) } }
    }
  }

  /// On the writer's thread.
  private func addSpare(_ number: UInt32, _ made: Result<NamespaceMaker.Namespace, NetworkError>) {
    var link: PodLink?
    do throws(NetworkError) {
      let namespace = try made.get()
      let lease = plan.lease(number)
      try host.fillPairs(for: number)
      let new = try makeVeth(lease, plan.mac(number), namespace)
      link = new
      try host.prepare(new, lease, inside: namespace.routes)
      let spare = SparePod(number: number, link: new, port: host.port, namespace: namespace)
      ledger.withLock { $0.endSpare(number, link: new, spare, at: bootTime()) }
    } catch {
      // The next attach or detach tries again.
      logger.warning("no spare pod could be made", metadata: ["error": "\(error)"])
      ledger.withLock { [link] in $0.endSpare(number, link: link, nil, at: bootTime()) }
      observer.wake()
      return
    }
    refill()
  }

  /// A4 for what is ready but for that, on the writer's thread.
  /// - Returns: false when it is of no use any more; nothing of it is left in the books then.
  func wake(_ spare: SparePod, _ sandbox: Identifier, _ lease: AddressLease, _ mac: MACAddress) -> Bool {
    ledger.withLock { $0.attached(sandbox, lease, number: spare.number, link: spare.link) }
    do throws(NetworkError) {
      try host.enliven(spare, sandbox, lease, mac: mac)
      return true
    } catch {
      logger.notice("a spare pod is of no use", metadata: ["link": "\(lease.hostInterface)", "error": "\(error)"])
      ledger.withLock { $0.spareFailed(lease.hostInterface) }
      return false
    }
  }

  func attachEnded() {
    ledger.withLock { $0.pool.attaching -= 1 }
    refill()
  }

  /// Their namespaces are held by nobody else; the kernel removes the links.
  func dropSpares(forGood: Bool) {
    ledger.withLock { ledger in
      if forGood { ledger.pool.size = 0 }
      ledger.dropSpares(at: bootTime())
    }
  }

  /// `MemAvailable` of proc_meminfo(5), in bytes.
  private static func availableMemory() -> Int {
    let raw = Glibc.open("/proc/meminfo", O_RDONLY | O_CLOEXEC)
    guard raw >= 0 else { return 0 }
    defer { close(raw) }
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = Glibc.read(raw, &bytes, bytes.count)
    guard count > 0 else { return 0 }
    for line in String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n")
    where line.hasPrefix("MemAvailable:") {
      return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 << 10 } ?? 0
    }
    return 0
  }
}
