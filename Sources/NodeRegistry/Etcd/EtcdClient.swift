internal import AsyncHTTPClient
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// Speaks to etcd through its JSON gateway. Every call asks the endpoints in turn, from the one that answered last.
final class EtcdClient: Sendable {
  /// How long an answer, or the next part of it, may take.
  private static let patience = Duration.seconds(5)
  private static let limit = 64 << 20

  private let endpoints: [String]
  private let current = Mutex(0)
  private let calls: HTTPClient
  /// Silence is no fault of a watch; its life is bounded by the calls beside it.
  private let streams: HTTPClient

  init(_ configuration: EtcdConfiguration) throws(RegistryError) {
    endpoints = configuration.endpoints
    let tls = try configuration.tls()
    func client(read: TimeAmount?) -> HTTPClient {
      var settings = HTTPClient.Configuration(
        tlsConfiguration: tls, redirectConfiguration: .disallow,
        timeout: .init(connect: .seconds(2), read: read))
      settings.connectionPool.retryConnectionEstablishment = false
      return HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
    }
    calls = client(read: .init(Self.patience))
    streams = client(read: nil)
  }

  func shutdown() async {
    try? await calls.shutdown()
    try? await streams.shutdown()
  }

  // MARK: calls

  func list(_ prefix: String) async throws -> EtcdListing {
    let request = EtcdRangeRequest(key: EtcdText.encode(prefix), range_end: EtcdText.end(of: prefix))
    let answer: EtcdRangeAnswer = try await call("kv/range", request)
    return EtcdListing(pairs: (answer.kvs ?? []).map(\.pair), revision: answer.header?.revision?.value ?? 0)
  }

  /// - Returns: false when a comparison failed, and nothing was done.
  func commit(_ transaction: EtcdTransaction) async throws -> Bool {
    let answer: EtcdTransactionAnswer = try await call("kv/txn", transaction)
    return answer.succeeded ?? false
  }

  /// - Returns: the lease's identifier.
  func grant(seconds: Int) async throws -> Int64 {
    let answer: EtcdLeaseAnswer = try await call("lease/grant", EtcdLeaseRequest(TTL: "\(seconds)"))
    guard let lease = answer.ID?.value, lease != 0 else { throw RegistryError.unavailable("it gave no lease") }
    return lease
  }

  /// - Returns: false when the lease had ended.
  func keepAlive(_ lease: Int64) async throws -> Bool {
    let answer: EtcdStreamed<EtcdLeaseAnswer> = try await call("lease/keepalive", EtcdLeaseRequest(ID: "\(lease)"))
    if let error = answer.error { throw RegistryError.unavailable(error.text) }
    return (answer.result?.TTL?.value ?? 0) > 0
  }

  /// Lets the store forget what came before `revision`.
  func compact(_ revision: Int64) async throws {
    let _: EtcdCompactAnswer = try await call("kv/compaction", EtcdCompactRequest(revision: "\(revision)"))
  }

  // MARK: watch

  /// Hands over every change from `revision` on, in the store's order.
  /// - Returns: when the store has forgotten that revision: read everything anew.
  /// - Throws: when the stream ends otherwise.
  func watch(
    _ prefix: String, from revision: Int64, _ changed: @Sendable ([EtcdChange]) async throws -> Void
  ) async throws {
    let request = EtcdWatchRequest(
      create_request: .init(
        key: EtcdText.encode(prefix), range_end: EtcdText.end(of: prefix), start_revision: "\(revision)"))
    let response = try await send(streams, "watch", request)
    var line = ByteBuffer()
    for try await part in response.body {
      var part = part
      while let end = part.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
        var head = part.readSlice(length: end - part.readerIndex) ?? ByteBuffer()
        part.moveReaderIndex(forwardBy: 1)
        line.writeBuffer(&head)
        let answer = try Self.decode(EtcdStreamed<EtcdWatchAnswer>.self, line)
        line.clear()
        if try await take(answer, changed) { return }
      }
      line.writeBuffer(&part)
      guard line.readableBytes <= Self.limit else { throw RegistryError.unavailable("a watch message has no end") }
    }
    throw RegistryError.unavailable("the watch ended")
  }

  /// - Returns: true when the store has forgotten the revision.
  private func take(
    _ streamed: EtcdStreamed<EtcdWatchAnswer>, _ changed: @Sendable ([EtcdChange]) async throws -> Void
  ) async throws -> Bool {
    guard let answer = streamed.result else {
      throw RegistryError.unavailable("watch: \(streamed.error?.text ?? "an empty message")")
    }
    if (answer.compact_revision?.value ?? 0) > 0 { return true }
    if answer.canceled == true {
      throw RegistryError.unavailable("watch: \(answer.cancel_reason ?? "canceled")")
    }
    let changes = (answer.events ?? []).compactMap { event -> EtcdChange? in
      guard let pair = event.kv?.pair else { return nil }
      return EtcdChange(key: pair.key, value: event.type == "DELETE" ? nil : pair.value, revision: pair.revision)
    }
    if !changes.isEmpty { try await changed(changes) }
    return false
  }

  // MARK: pieces

  private func call<Answer: Decodable>(_ method: String, _ request: some Encodable) async throws -> Answer {
    let response = try await send(calls, method, request)
    let body: ByteBuffer
    do {
      body = try await response.body.collect(upTo: Self.limit)
    } catch {
      throw RegistryError.unavailable("\(method): \(Self.reason(error))")
    }
    return try Self.decode(Answer.self, body)
  }

  private func send(
    _ client: HTTPClient, _ method: String, _ message: some Encodable
  ) async throws -> HTTPClientResponse {
    let body = ByteBuffer(bytes: try JSONEncoder().encode(message))
    var reasons: [String] = []
    let first = current.withLock { $0 }
    for turn in 0..<endpoints.count {
      try Task.checkCancellation()
      let index = (first + turn) % endpoints.count
      var request = HTTPClientRequest(url: "\(endpoints[index])/v3/\(method)")
      request.method = .POST
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(body)
      do {
        let response = try await client.execute(request, deadline: .now() + .init(Self.patience))
        if response.status == .ok {
          current.withLock { $0 = index }
          return response
        }
        let text = try await response.body.collect(upTo: 1 << 16)
        let failure = try? Self.decode(EtcdFailure.self, text)
        reasons.append("\(endpoints[index]): \(response.status.code) \(failure?.text ?? "")")
      } catch let error as CancellationError {
        throw error
      } catch {
        reasons.append("\(endpoints[index]): \(Self.reason(error))")
      }
    }
    throw RegistryError.unavailable(reasons.joined(separator: "; "))
  }

  private static func decode<Answer: Decodable>(_ type: Answer.Type, _ body: ByteBuffer) throws -> Answer {
    do {
      return try JSONDecoder().decode(type, from: Data(body.readableBytesView))
    } catch {
      throw RegistryError.unavailable("it answers what is not etcd's: \(error)")
    }
  }

  /// The libraries' own words spell out their types.
  private static func reason(_ error: any Error) -> String {
    if let error = error as? HTTPClientError { return error.shortDescription.lowercased() }
    let text = "\(error)"
    if text.contains("Connection refused") { return "connection refused" }
    if text.contains("onnection reset") { return "connection reset" }
    if text.contains("CERTIFICATE_VERIFY_FAILED") { return "its certificate is not trusted" }
    if text.contains("ALERT"), text.contains("CERTIFICATE") { return "it refuses our certificate, or wants one" }
    if text.contains("unreachable") { return "network or host unreachable" }
    if text.contains("connectTimeout") || text.contains("timed out") { return "no answer in time" }
    return String(text.prefix(200))
  }
}
