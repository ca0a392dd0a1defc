/// The ids of a pod's user namespace: one run of the node's user ids and one of its group ids, from 0 inside.
package struct UserMapping: Sendable, Hashable {
  package struct Range: Sendable, Hashable {
    /// What 0 is on the node; never 0 itself.
    package var host: UInt32
    /// At least 1.
    package var count: UInt32

    package init(host: UInt32, count: UInt32) {
      self.host = host
      self.count = count
    }
  }

  package var uids: Range
  package var gids: Range

  package init(uids: Range, gids: Range) {
    self.uids = uids
    self.gids = gids
  }
}
