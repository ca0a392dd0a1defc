import Glibc
import RuntimeModel
import SwiftProtobuf
import Synchronization

/// A connection to one pod's shim, over which any number of calls may be under way at once; all clients of the process
/// share one thread. Goes out of use with its last reference. What the methods do: `proto/shim.proto`.
///
/// Every call throws ``ShimCallError`` and ends at the latest when its deadline passes, its task is cancelled or the
/// connection ends. The shim does not learn of the first two: it finishes what it has begun.
package final class ShimClient: Sendable {
  private let connection: ShimConnection

  private init(_ connection: ShimConnection) { self.connection = connection }

  deinit { connection.close(.closedHere) }

  /// Connects to the socket of a shim that runs.
  /// - Parameter deadline: until when to try while the shim's queue of connections is full.
  /// - Throws: ``ShimCallError`` with origin `connection`, at once when nobody listens (ENOENT, ECONNREFUSED).
  package static func connect(
    path: String, deadline: ContinuousClock.Instant = usualDeadline
  ) async throws(ShimCallError) -> ShimClient {
    while true {
      do throws(ConnectionEnd) {
        if let descriptor = try ShimSocket.connect(path: path) { return try adopting(descriptor) }
      } catch {
        throw ShimCallError(method: "connect", end: error)
      }
      guard ContinuousClock.now < deadline else { throw .deadline("connect") }
      do { try await Task.sleep(for: .milliseconds(1)) } catch { throw .cancelled("connect") }
    }
  }

  /// Takes over a connected stream socket, whose other end a shim has or will have; it is closed in failure too.
  /// - Throws: ``ShimCallError`` with origin `connection`.
  package static func adopt(connected descriptor: Int32) throws(ShimCallError) -> ShimClient {
    do throws(ConnectionEnd) { return try adopting(descriptor) } catch {
      throw ShimCallError(method: "adopt", end: error)
    }
  }

  /// The latest `protocol_version` of shim.proto that is spoken here.
  package static let protocolVersion: UInt32 = 1

  /// The deadline of a call that is given none: 30 seconds from now, far more than any of them needs.
  package static var usualDeadline: ContinuousClock.Instant { .now + .seconds(30) }

  /// Ends the connection and with it all calls under way. Idempotent.
  package func close() { connection.close(.closedHere) }

  /// Has `observer` called once when the connection ends, whoever ends it; at once if it has ended. It runs on the
  /// thread that serves all shims, or on that of the closer: it must not block, nor keep the client alive.
  package func onClose(_ observer: @escaping @Sendable (ConnectionEnd) -> Void) { connection.observe(observer) }

  private static func adopting(_ descriptor: Int32) throws(ConnectionEnd) -> ShimClient {
    ShimClient(try ShimConnection(descriptor: descriptor))
  }

  /// One call. The messages are coded in the caller's task, not on the shared thread.
  /// - Parameters:
  ///   - descriptors: lent until the call ends, or taken over.
  ///   - takingOver: they are closed here as soon as the shim has them, which is long before some calls end.
  func call<Request: Message, Response: Message>(
    _ method: String, _ request: Request, passing descriptors: [Int32] = [], takingOver: Bool = false,
    deadline: ContinuousClock.Instant?
  ) async throws(ShimCallError) -> Response {
    let given = takingOver ? TakenDescriptors(descriptors) : nil
    let frame = try Self.encode(method, request, deadline: deadline)
    let call = ShimConnection.Call(token: connection.newToken(), method: method, deadline: deadline)
    let answer = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        connection.start(call, frame: frame, descriptors: descriptors, continuation: continuation)
        given?.close()
        // A cancellation before this point found no call to abandon.
        if Task.isCancelled { connection.abandon(call.token) }
      }
    } onCancel: {
      connection.abandon(call.token)
    }
    return try Self.decode(method, answer.get())
  }

  /// Closed once, at the latest with the object.
  private final class TakenDescriptors: Sendable {
    private let descriptors: Mutex<[Int32]>

    init(_ descriptors: [Int32]) { self.descriptors = Mutex(descriptors) }
    deinit { close() }

    func close() {
      descriptors.withLock { descriptors in
        for descriptor in descriptors { Glibc.close(descriptor) }
        descriptors = []
      }
    }
  }

  private static func encode(
    _ method: String, _ request: some Message, deadline: ContinuousClock.Instant?
  ) throws(ShimCallError) -> [UInt8] {
    var envelope = Swiftlet_Shim_V1_Request()
    envelope.service = "swiftlet.shim.v1.Shim"
    envelope.method = method
    if let deadline {
      let (seconds, attoseconds) = ContinuousClock.now.duration(to: deadline).components
      envelope.timeoutNano = min(seconds, 1 << 33) * 1_000_000_000 + attoseconds / 1_000_000_000
      guard envelope.timeoutNano > 0 else { throw .deadline(method) }
    }
    do {
      envelope.payload = try request.serializedBytes()
      let frame = Frame(stream: 0, type: Frame.request, payload: try envelope.serializedBytes())
      return try FrameCodec.encode(frame, limit: FrameCodec.requestLimit)
    } catch {
      throw ShimCallError(origin: .message, code: .invalidArgument, message: "shim \(method): request: \(error)")
    }
  }

  private static func decode<Response: Message>(
    _ method: String, _ payload: [UInt8]
  ) throws(ShimCallError) -> Response {
    let envelope: Swiftlet_Shim_V1_Response
    do {
      envelope = try Swiftlet_Shim_V1_Response(serializedBytes: payload)
      if envelope.status.code == 0 { return try Response(serializedBytes: envelope.payload) }
    } catch {
      throw ShimCallError(origin: .message, code: .internalError, message: "shim \(method): response: \(error)")
    }
    throw ShimCallError(method: method, status: envelope.status)
  }
}
