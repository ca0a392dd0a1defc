import Foundation

/// What the first byte of a remotecommand message says (`v4.channel.k8s.io`, `v5.channel.k8s.io`).
enum RemoteChannel: UInt8 {
  case input = 0
  case output = 1
  case errors = 2
  case status = 3
  case resize = 4
  /// v5: the second byte names the channel that ends.
  case close = 255

  static let closing = "v5.channel.k8s.io"
  /// The client's wish first. A v4 session cannot tell the end of standard input.
  static let protocols = [closing, "v4.channel.k8s.io"]
}

/// How a session ended: the JSON document on the status channel.
struct RemoteStatus: Decodable, Equatable {
  struct Details: Decodable, Equatable {
    struct Cause: Decodable, Equatable {
      var reason: String?
      var message: String?
    }
    var causes: [Cause]?
  }

  var status: String?
  var message: String?
  var reason: String?
  var details: Details?

  /// The command's exit status.
  ///
  /// - Throws: ``ClientError`` when it is no command's status but a failure of the runtime.
  func exitCode(of what: String) throws(ClientError) -> Int32 {
    if status == "Success" { return 0 }
    let code = details?.causes?.first { $0.reason == "ExitCode" }?.message.flatMap { Int32($0) }
    if reason == "NonZeroExitCode", let code { return code }
    throw ClientError(.failed, "cannot \(what)", why: message ?? reason ?? "the runtime gives no reason")
  }
}
