import CLinux
import CShimMessages

/// The gRPC status codes that a shim answers with.
enum StatusCode: Int32 {
  case deadlineExceeded = 4
  case invalidArgument = 3
  case notFound = 5
  case alreadyExists = 6
  case resourceExhausted = 8
  case failedPrecondition = 9
  case unimplemented = 12
  case `internal` = 13
}

/// Why a method failed.
struct Refusal: Error {
  var code: StatusCode
  var message: String
  var failure: StepFailure?

  init(_ code: StatusCode, _ message: String) {
    self.code = code
    self.message = message
  }

  /// A system call made the method fail; `object` is what the caller asked about.
  init(_ failure: StepFailure, of object: String) {
    switch failure.errno {
    case EMFILE, ENFILE: code = .resourceExhausted
    case E2BIG, ENAMETOOLONG: code = .invalidArgument  // arguments, environment, a path
    default: code = .internal
    }
    // A file system that cannot show other ids will not learn it.
    if failure.step.withCString({ strncmp($0, "map ids", 7) }) == 0 { code = .failedPrecondition }
    var words = "\(object): \(failure.step)"
    if !failure.subject.utf8.isEmpty { words += " \(failure.subject)" }
    message = words + ": \(errorName(failure.errno))"
    self.failure = failure
  }
}

/// One request that waits for its answer. Exactly one of `succeed`, `fail` or `send` is called.
struct Call {
  let connection: Connection
  let stream: UInt32
  /// Nanoseconds that the caller waits; 0 is no limit.
  let timeout: Int64

  /// Answers with any of the protocol's messages.
  func succeed<Message>(_ message: inout Message) {
    withUnsafePointer(to: &message) {
      let message = UnsafeRawPointer($0).assumingMemoryBound(to: ProtobufCMessage.self)
      let size = protobuf_c_message_get_packed_size(message)
      guard let (block, start) = frame(payload: size) else { return connection.close() }
      _ = protobuf_c_message_pack(message, (block + start).assumingMemoryBound(to: UInt8.self))
      connection.send(Chunk(adopting: block, count: start + size))
    }
  }

  /// The beginning of a successful answer: a frame's header and all of the envelope that comes before the payload.
  /// - Returns: a block from malloc with room for the payload behind `start`; nil without memory.
  func frame(payload size: Int, allocating here: Int? = nil) -> (block: UnsafeMutableRawPointer, start: Int)? {
    let envelope = size == 0 ? 0 : 1 + Wire.size(ofVarint: UInt64(size))
    let start = FrameHeader.size + envelope
    guard let block = malloc(start + (here ?? size)) else { return nil }
    FrameHeader(length: envelope + size, stream: stream, type: FrameHeader.response)
      .store(to: UnsafeMutableRawBufferPointer(start: block, count: start))
    if size > 0 {
      var end = block + FrameHeader.size
      Wire.putTag(field: Wire.responsePayload, &end)
      Wire.put(varint: UInt64(size), &end)
    }
    return (block, start)
  }

  func fail(_ refusal: Refusal) {
    let message = strdup(refusal.message)
    let step = refusal.failure.flatMap { strdup($0.step) }
    let subject = refusal.failure.flatMap { strdup($0.subject) }
    defer {
      free(message)
      free(step)
      free(subject)
    }
    var failure = Swiftlet__Shim__V1__StepFailure()
    swiftlet__shim__v1__step_failure__init(&failure)
    failure.step = step
    failure.subject = subject
    failure.errno = refusal.failure?.errno ?? 0
    var status = Swiftlet__Shim__V1__Status()
    swiftlet__shim__v1__status__init(&status)
    status.code = refusal.code.rawValue
    status.message = message
    withUnsafeMutablePointer(to: &failure) { failure in
      if refusal.failure != nil { status.failure = failure }
      withUnsafeMutablePointer(to: &status) { send(status: $0) }
    }
  }

  private func send(status: UnsafeMutablePointer<Swiftlet__Shim__V1__Status>) {
    var response = Swiftlet__Shim__V1__Response()
    swiftlet__shim__v1__response__init(&response)
    response.status = status
    let size = swiftlet__shim__v1__response__get_packed_size(&response)
    guard let block = malloc(FrameHeader.size + size) else { return connection.close() }
    FrameHeader(length: size, stream: stream, type: FrameHeader.response)
      .store(to: UnsafeMutableRawBufferPointer(start: block, count: FrameHeader.size))
    _ = swiftlet__shim__v1__response__pack(&response, (block + FrameHeader.size).assumingMemoryBound(to: UInt8.self))
    connection.send(Chunk(adopting: block, count: FrameHeader.size + size))
  }
}

/// The little of protobuf's wire format that is written by hand, so that an exec's output is never copied whole.
enum Wire {
  /// `payload` of message Response.
  static let responsePayload = 2

  static func size(ofVarint value: UInt64) -> Int {
    max(1, (64 - value.leadingZeroBitCount + 6) / 7)
  }

  static func put(varint value: UInt64, _ end: inout UnsafeMutableRawPointer) {
    var rest = value
    while rest > 0x7f {
      end.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
      end += 1
      rest >>= 7
    }
    end.storeBytes(of: UInt8(rest), as: UInt8.self)
    end += 1
  }

  /// The tag of a length-delimited field; its length follows.
  static func putTag(field: Int, _ end: inout UnsafeMutableRawPointer) {
    end.storeBytes(of: UInt8(field << 3 | 2), as: UInt8.self)
    end += 1
  }

  /// The bytes that a varint field takes; none when it is zero.
  static func size(ofField value: UInt64) -> Int {
    value == 0 ? 0 : 1 + size(ofVarint: value)
  }

  static func put(field: Int, varint value: UInt64, _ end: inout UnsafeMutableRawPointer) {
    guard value != 0 else { return }
    end.storeBytes(of: UInt8(field << 3), as: UInt8.self)
    end += 1
    put(varint: value, &end)
  }
}
