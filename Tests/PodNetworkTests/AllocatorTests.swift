import RuntimeModel
import Testing

@testable import PodNetwork

@Suite struct AllocatorTests {
  @Test func goesRoundAndSkipsWhatIsHeld() {
    var allocator = AddressAllocator(numbers: 2...4)
    #expect(allocator.reserve(at: .zero) == 2)
    #expect(allocator.reserve(at: .zero) == 3)
    allocator.release(2)
    allocator.linkGone(2, at: .zero)
    #expect(allocator.reserve(at: .seconds(60)) == 4)
    #expect(allocator.reserve(at: .seconds(60)) == 2)
    #expect(allocator.reserve(at: .seconds(60)) == nil)
  }

  @Test func restsThirtySecondsAfterItsLinkIsGone() {
    var allocator = AddressAllocator(numbers: 2...2)
    #expect(allocator.reserve(at: .zero) == 2)
    allocator.release(2)
    #expect(allocator.reserve(at: .seconds(1000)) == nil, "its link is still there")
    allocator.linkGone(2, at: .seconds(1000))
    #expect(allocator.used == 0)
    #expect(allocator.resting(at: .seconds(1000)) == 1)
    #expect(allocator.reserve(at: .seconds(1029)) == nil)
    #expect(allocator.reserve(at: .seconds(1030)) == 2)
  }

  @Test func aUsedNumberOutlivesItsLink() {
    var allocator = AddressAllocator(numbers: 2...3)
    #expect(allocator.reserve(at: .zero) == 2)
    allocator.linkGone(2, at: .zero)
    #expect(allocator.holdings[2] == .used)
    allocator.release(3)
    #expect(allocator.holdings[3] == nil, "what nobody held is not released")
  }

  @Test func startsAtTheCursor() {
    var allocator = AddressAllocator(numbers: 2...4, cursor: 4)
    allocator.take(4)
    #expect(allocator.reserve(at: .zero) == 2)
    #expect(AddressAllocator(numbers: 2...4, cursor: 9).cursor == 2)
  }

  /// Random walks: no number is ever held twice, and none gets lost.
  @Test(arguments: 1...20) func neverTwice(seed: UInt64) {
    var random = Generator(state: seed)
    var allocator = AddressAllocator(numbers: 2...20)
    var held: Set<UInt32> = []
    var releasing: Set<UInt32> = []
    var now = Duration.zero
    for _ in 0..<2000 {
      now += .milliseconds(Int64(random.next() % 5000))
      switch random.next() % 3 {
      case 0:
        if let number = allocator.reserve(at: now) {
          #expect(held.insert(number).inserted && !releasing.contains(number))
        }
      case 1:
        if let number = held.min(by: { _, _ in random.next() % 2 == 0 }) {
          held.remove(number)
          allocator.release(number)
          releasing.insert(number)
        }
      default:
        if let number = releasing.first {
          releasing.remove(number)
          allocator.linkGone(number, at: now)
        }
      }
    }
    #expect(allocator.used == held.count + releasing.count)
  }
}

/// A seeded generator (SplitMix64), so that a failing walk can be walked again.
struct Generator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

@Suite struct LedgerTests {
  private let a = Identifier.random()
  private let b = Identifier.random()

  private func lease(_ number: UInt32) -> AddressLease {
    AddressLease(ipv4: "10.0.0.\(number)", ipv6: nil, mac: "", hostInterface: "pod\(number)")
  }

  private func ledger() -> Ledger { Ledger(allocator: AddressAllocator(numbers: 2...3)) }

  @Test func detachCutsOnceAndFreesWithTheLink() {
    var ledger = ledger()
    #expect(ledger.allocator.reserve(at: .zero) == 2)
    ledger.attached(a, lease(2), number: 2, link: PodLink(index: 77, bridge: 0))
    #expect(ledger.live == [a: lease(2)])
    #expect(ledger.detached(a, lease(2), number: 2, at: .seconds(1)) == .cut(index: 77, bridge: 0))
    #expect(ledger.detached(a, lease(2), number: 2, at: .seconds(1)) == .nothing)
    #expect(ledger.allocator.holdings[2] == .releasing)
    #expect(ledger.nextDeadline == .seconds(3))
    #expect(ledger.overdue(at: .seconds(2)).isEmpty)
    #expect(ledger.overdue(at: .seconds(3)) == [77])
    #expect(ledger.linkGone(77, at: .seconds(2)) == nil)
    #expect(ledger.allocator.holdings[2] == .resting(until: .seconds(32)))
    #expect(ledger.indexes.isEmpty)
  }

  @Test func aLateSecondDetachTakesNothingFromTheNextHolder() {
    var ledger = ledger()
    #expect(ledger.allocator.reserve(at: .zero) == 2)
    ledger.attached(a, lease(2), number: 2, link: PodLink(index: 77, bridge: 0))
    _ = ledger.detached(a, lease(2), number: 2, at: .zero)
    _ = ledger.linkGone(77, at: .zero)
    #expect(ledger.allocator.reserve(at: .seconds(60)) == 3)
    #expect(ledger.allocator.reserve(at: .seconds(60)) == 2)
    #expect(ledger.detached(a, lease(2), number: 2, at: .seconds(61)) == .nothing)
    #expect(ledger.allocator.holdings[2] == .used)
    ledger.attached(b, lease(2), number: 2, link: PodLink(index: 78, bridge: 0))
    #expect(ledger.detached(a, lease(2), number: 2, at: .seconds(61)) == .nothing)
    #expect(ledger.live == [b: lease(2)])
  }

  @Test func aDeadPodKeepsItsAddressUntilItIsDetached() {
    var ledger = ledger()
    #expect(ledger.allocator.reserve(at: .zero) == 2)
    ledger.attached(a, lease(2), number: 2, link: PodLink(index: 77, bridge: 0))
    #expect(ledger.linkGone(77, at: .zero) == a)
    #expect(ledger.allocator.holdings[2] == .used)
    #expect(ledger.detached(a, lease(2), number: 2, at: .seconds(5)) == .cut(index: nil, bridge: 0))
    #expect(ledger.allocator.holdings[2] == .resting(until: .seconds(35)))
  }

  @Test func aFailedTransactionGivesBack() {
    var ledger = ledger()
    #expect(ledger.allocator.reserve(at: .zero) == 2)
    ledger.gaveBack(lease(2), number: 2, at: .zero)
    #expect(ledger.allocator.holdings[2] == .resting(until: .seconds(30)))
  }

  private func spare(_ number: UInt32, _ index: Int32) -> SparePod {
    SparePod(number: number, link: PodLink(index: index, bridge: 0), port: BridgePort(), namespace: nil)
  }

  @Test func sparesAreMadeBesideNoAttachAndNotOfTheLastAddresses() {
    var ledger = Ledger(allocator: AddressAllocator(numbers: 2...21))
    #expect(!ledger.wantsSpare(at: .zero), "off")
    ledger.pool.size = 30
    #expect(ledger.takeSpare(2) == nil)
    #expect(!ledger.wantsSpare(at: .zero), "an attach is on its way")
    ledger.pool.attaching -= 1
    var made: Int32 = 0
    while let number = ledger.beginSpare(at: .zero) {
      #expect(!ledger.wantsSpare(at: .zero), "one at a time")
      made += 1
      ledger.endSpare(number, link: PodLink(index: made, bridge: 0), spare(number, made), at: .zero)
    }
    // The nineteenth was begun while two of twenty, a tenth, were free.
    #expect(made == 19)
    #expect(ledger.portCounts == [0: 19])
    #expect(ledger.reserve(at: .zero) == 2, "the oldest")
  }

  @Test func spareAddressesAreHeldOnceAndRestWhenTheirLinkIsGone() {
    var ledger = Ledger(allocator: AddressAllocator(numbers: 2...21))
    ledger.pool.size = 2
    for index: Int32 in [70, 71] {
      let number = ledger.beginSpare(at: .zero) ?? 0
      ledger.endSpare(number, link: PodLink(index: index, bridge: 0), spare(number, index), at: .zero)
    }
    #expect(ledger.reserve(at: .zero) == 2)
    #expect(ledger.takeSpare(2)?.link.index == 70)
    ledger.attached(a, lease(2), number: 2, link: PodLink(index: 70, bridge: 0))
    #expect(ledger.portCounts == [0: 2])
    #expect(ledger.reserve(at: .zero) == 3)
    #expect(ledger.reserve(at: .zero) == 4, "none is ready")
    var other = ledger
    #expect(other.linkGone(71, at: .zero) == nil)
    #expect(other.takeSpare(3) == nil && other.allocator.holdings[3] == .used, "its pair is made anew")
    #expect(other.portCounts == [0: 1])
    ledger.gaveBack(lease(3), number: 3, at: .seconds(1))
    #expect(ledger.allocator.holdings[3] == .releasing)
    #expect(ledger.indexes == [70, 71])
    #expect(ledger.nextDeadline == .seconds(3))
    #expect(ledger.overdue(at: .seconds(3)) == [71])
    #expect(ledger.linkGone(71, at: .seconds(3)) == nil)
    #expect(ledger.allocator.holdings[3] == .resting(until: .seconds(33)))
    #expect(ledger.indexes == [70])
    #expect(ledger.portCounts == [0: 1])
  }

  @Test func theLastAddressGoesToASandboxThoughASpareIsBeingMade() {
    var ledger = Ledger(allocator: AddressAllocator(numbers: 2...2))
    ledger.pool.size = 1
    #expect(ledger.beginSpare(at: .zero) == 2)
    #expect(ledger.reserve(at: .zero) == 2)
    #expect(ledger.reserve(at: .zero) == nil)
    ledger.endSpare(2, link: PodLink(index: 70, bridge: 0), spare(2, 70), at: .zero)
    #expect(ledger.pool.ready.isEmpty && ledger.indexes.isEmpty)
    #expect(ledger.allocator.holdings[2] == .used)
  }
}
