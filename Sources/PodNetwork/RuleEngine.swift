internal import CNFTables
internal import CNetlink
internal import Glibc
internal import LinuxSystem

/// libnftables, in process: text in, one netfilter transaction out. Rules are checked by the kernel as a whole; either
/// all of a command takes effect or nothing.
final class RuleEngine: @unchecked Sendable {
  // The guard: used on the writer's thread only (the context is not for several threads at once, libnftables(3)).
  private let context: OpaquePointer

  /// In the network namespace of the calling thread.
  init() throws(NetworkError) {
    // libnftables waits for its socket by select(2), which aborts the process above FD_SETSIZE.
    let next = cnetlink_eventfd()
    guard next >= 0 else { throw .kernel("open", errno, "the socket of libnftables") }
    close(next)
    guard next < OwnedFD.selectLimit else {
      throw .rules("no descriptor below \(OwnedFD.selectLimit) is free, and libnftables can use no other")
    }
    guard let context = nft_ctx_new(UInt32(NFT_CTX_DEFAULT)) else { throw .rules("libnftables gave no context") }
    self.context = context
    nft_ctx_buffer_error(context)
    nft_ctx_buffer_output(context)
  }

  deinit { nft_ctx_free(context) }

  /// - Throws: `rules` with the first line of what nftables says.
  func run(_ text: String) throws(NetworkError) {
    guard nft_run_cmd_from_buffer(context, text) != 0 else { return }
    let words = nft_ctx_get_error_buffer(context).map { String(cString: $0) } ?? ""
    throw .rules(words.split(separator: "\n").first.map(String.init) ?? "the transaction was refused")
  }
}
