/// Where the server listens, and what it bears.
package struct StreamingConfiguration: Sendable {
  /// An address of this node. Whoever can reach it and knows a token is in: there is no TLS.
  package var address = "127.0.0.1"
  /// 0: one that is free.
  package var port: UInt16 = 0
  /// How long a URL is good for.
  var tokenLife = Duration.seconds(60)
  var pendingTokens = 1000
  /// Sessions at the same time.
  var connections = 512
  /// Connections at the same time that have not told yet what they want.
  var strangers = 128
  /// Bytes of a request's line and headers.
  var headBytes = 16 << 10
  /// Until when a request must be complete.
  var headTime = Duration.seconds(10)
  /// Until when the client must have opened its streams.
  var creationTime = Duration.seconds(30)
  /// How long nothing may pass in either direction.
  var idleTime = Duration.seconds(4 * 3600)
  /// How long the output of a process that has ended may be silent while others keep it open (ATTACKS.md D02).
  var drainTime = Duration.seconds(5)
  /// How long what a client that left has sent may take on its way to the process, and a client to close after it was
  /// told the end.
  var lingerTime = Duration.seconds(5)
  /// How long a forwarded connection may take nothing while it is in the way of others.
  var stuckTime = Duration.seconds(10)

  package init() {}
}
