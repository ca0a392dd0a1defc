import CLinux
import CShimMessages

extension Shim: RequestReceiver {
  func received(_ payload: UnsafeRawBufferPointer, stream: UInt32, on connection: Connection) {
    let unpacked = swiftlet__shim__v1__request__unpack(
      nil, payload.count, payload.assumingMemoryBound(to: UInt8.self).baseAddress)
    // Without an envelope there is nothing to answer to.
    guard let request = unpacked else { return connection.close() }
    defer { swiftlet__shim__v1__request__free_unpacked(request, nil) }
    let call = Call(connection: connection, stream: stream, timeout: request.pointee.timeout_nano)
    do throws(Refusal) {
      try dispatch(call, request)
    } catch {
      call.fail(error)
    }
  }

  func closed(_ connection: Connection) {
    connections.removeAll { $0 === connection }
    if let call = waiter, call.connection === connection { forgetWaiter() }
    stopCalls.removeAll { $0.connection === connection }
    for exec in execs where exec.connection === connection { exec.cancel() }
    for task in tasks {
      for client in task.attachments where client.connection === connection { client.end() }
    }
    scheduleLeave()
  }

  private func dispatch(
    _ call: Call, _ request: UnsafeMutablePointer<Swiftlet__Shim__V1__Request>
  ) throws(Refusal) {
    guard "swiftlet.shim.v1.Shim".matches(request.pointee.service), let method = request.pointee.method else {
      throw Refusal(.unimplemented, "service: \(text(request.pointee.service)) is not served here")
    }
    let payload = request.pointee.payload
    if "StartSandbox".matches(method) {
      try with(payload, swiftlet__shim__v1__start_sandbox_request__descriptor) { (request) throws(Refusal) in
        try startSandbox(call, request)
      }
    } else if "Start".matches(method) {
      try with(payload, swiftlet__shim__v1__start_request__descriptor) { (request) throws(Refusal) in
        try start(call, request)
      }
    } else if "ExecSync".matches(method) {
      try with(payload, swiftlet__shim__v1__exec_sync_request__descriptor) { (request) throws(Refusal) in
        try execSync(call, request)
      }
    } else if "Exec".matches(method) {
      try with(payload, swiftlet__shim__v1__exec_request__descriptor) { (request) throws(Refusal) in
        try exec(call, request)
      }
    } else if "Attach".matches(method) {
      try with(payload, swiftlet__shim__v1__attach_request__descriptor) { (request) throws(Refusal) in
        try attach(call, request)
      }
    } else if "EndAttach".matches(method) {
      try with(payload, swiftlet__shim__v1__end_attach_request__descriptor) { (request) throws(Refusal) in
        try endAttach(call, request)
      }
    } else if "ResizeTerminal".matches(method) {
      try with(payload, swiftlet__shim__v1__resize_terminal_request__descriptor) { (request) throws(Refusal) in
        try resizeTerminal(call, request)
      }
    } else if "Kill".matches(method) {
      try with(payload, swiftlet__shim__v1__kill_request__descriptor) { (request) throws(Refusal) in
        try kill(call, request)
      }
    } else if "ReopenLog".matches(method) {
      try with(payload, swiftlet__shim__v1__reopen_log_request__descriptor) { (request) throws(Refusal) in
        try reopenLog(call, request)
      }
    } else if "WaitExits".matches(method) {
      try with(payload, swiftlet__shim__v1__wait_exits_request__descriptor) { (request) throws(Refusal) in
        try waitExits(call, request)
      }
    } else if "State".matches(method) {
      state(call)
    } else if "StopSandbox".matches(method) {
      stopSandbox(call)
    } else if "Shutdown".matches(method) {
      try shutdown(call)
    } else {
      throw Refusal(.unimplemented, "method: \(text(method)) is not served here")
    }
  }

  /// Unpacks a method's request for the time of the call.
  private func with<Message>(
    _ payload: ProtobufCBinaryData, _ descriptor: ProtobufCMessageDescriptor,
    _ body: (UnsafePointer<Message>) throws(Refusal) -> Void
  ) throws(Refusal) {
    var descriptor = descriptor
    guard let message = protobuf_c_message_unpack(&descriptor, nil, payload.len, payload.data) else {
      throw Refusal(.invalidArgument, "payload: is not the method's request message")
    }
    defer { protobuf_c_message_free_unpacked(message, nil) }
    try body(UnsafeRawPointer(message).assumingMemoryBound(to: Message.self))
  }
}
