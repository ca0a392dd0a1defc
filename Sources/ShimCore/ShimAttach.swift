import CLinux
import CShimMessages

extension Shim {
  /// Clients of one container's streams at a time.
  private static let attachmentLimit = 64

  func attach(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__AttachRequest>) throws(Refusal) {
    let given = GivenEnds(
      call.connection, input: request.pointee.stdin != 0, output: request.pointee.stdout != 0,
      error: request.pointee.stderr != 0)
    let task = try running(request.pointee.container_id)
    guard given.isComplete else {
      throw Refusal(.invalidArgument, "container \(task.id): a descriptor for each stream did not come")
    }
    for end in [given.ends.input, given.ends.output, given.ends.error] where end >= 0 && !isPipe(end) {
      throw Refusal(.invalidArgument, "container \(task.id): a stream's descriptor is not a pipe")
    }
    guard task.attachments.count < Shim.attachmentLimit else {
      throw Refusal(.resourceExhausted, "container \(task.id): it has \(Shim.attachmentLimit) clients")
    }
    let client = Attachment(
      call, task, client: request.pointee.client, given.takeAll(), loop: loop, scratch: scratch)
    task.attachments.append(client)
  }

  func endAttach(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__EndAttachRequest>) throws(Refusal) {
    let task = try running(request.pointee.container_id)
    for attachment in task.attachments
    where attachment.connection === call.connection && attachment.client == request.pointee.client {
      attachment.endInput(clientIsGone: request.pointee.gone != 0)
    }
    var response = Swiftlet__Shim__V1__EndAttachResponse()
    swiftlet__shim__v1__end_attach_response__init(&response)
    call.succeed(&response)
  }

  func resizeTerminal(
    _ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__ResizeTerminalRequest>
  ) throws(Refusal) {
    let task = try running(request.pointee.container_id)
    guard task.isTerminal, let input = task.input else {
      throw Refusal(.failedPrecondition, "container \(task.id): has no terminal")
    }
    let (width, height) = terminalSize(request.pointee.size)
    do throws(StepFailure) {
      try input.resize(width, height)
    } catch {
      throw Refusal(error, of: "container \(task.id)")
    }
    var response = Swiftlet__Shim__V1__ResizeTerminalResponse()
    swiftlet__shim__v1__resize_terminal_response__init(&response)
    call.succeed(&response)
  }
}

/// Columns and rows as the kernel has them.
func terminalSize(_ size: UnsafePointer<Swiftlet__Shim__V1__TerminalSize>?) -> (width: UInt16, height: UInt16) {
  (UInt16(clamping: size?.pointee.width ?? 0), UInt16(clamping: size?.pointee.height ?? 0))
}
