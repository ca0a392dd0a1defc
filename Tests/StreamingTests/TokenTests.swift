import NIOCore
import RuntimeModel
import SPDY
import Testing

@testable import Streaming

struct TokenTests {
  @Test func `a token is good once, for its kind, for its time`() throws {
    let tokens = TokenTable(life: .seconds(60), limit: 1000)
    let process = FakeProcess()
    let now = ContinuousClock.now
    let token = try tokens.issue(.exec(process), now: now)
    #expect(token.utf8.count == 32 && token.allSatisfy(\.isHexDigit))
    #expect(tokens.redeem(token, kind: .attach, now: now) == nil)
    #expect(tokens.redeem(token + "0", kind: .exec, now: now) == nil)
    #expect(tokens.redeem(token, kind: .exec, now: now + .seconds(59)) != nil)
    #expect(tokens.redeem(token, kind: .exec, now: now) == nil)
    let late = try tokens.issue(.attach(process), now: now)
    #expect(tokens.redeem(late, kind: .attach, now: now + .seconds(60)) == nil)
  }

  @Test func `a thousand may wait, and old ones make room`() throws {
    let tokens = TokenTable(life: .seconds(60), limit: 1000)
    let now = ContinuousClock.now
    let issued = try (0..<1000).map { _ in try tokens.issue(.exec(FakeProcess()), now: now) }
    #expect(Set(issued).count == 1000)
    let error = #expect(throws: RuntimeError.self) { try tokens.issue(.exec(FakeProcess()), now: now) }
    #expect(error?.code == .resourceExhausted)
    _ = try tokens.issue(.exec(FakeProcess()), now: now + .seconds(61))
  }

  @Test func `nothing is kept of a token whose time has passed`() async throws {
    let tokens = TokenTable(life: .milliseconds(20), limit: 1000)
    weak var process: FakeProcess?
    do {
      let held = FakeProcess()
      process = held
      _ = try tokens.issue(.exec(held))
    }
    let end = ContinuousClock.now + .seconds(60)
    while process != nil, .now < end { try await Task.sleep(for: .milliseconds(5)) }
    #expect(process == nil)
  }

  @Test func `an inbox that is full makes the putter wait`() async throws {
    let inbox = Inbox()
    let putter = Task {
      for _ in 0..<8 { await inbox.put(.init(repeating: 1, count: 32 << 10)) }
      inbox.finish()
    }
    var count = 0
    while let bytes = await inbox.next() { count += bytes.readableBytes }
    #expect(count == 8 * 32 << 10)
    await putter.value
    let closed = Inbox()
    let stuck = Task { for _ in 0..<8 { await closed.put(.init(repeating: 1, count: 64 << 10)) } }
    closed.close()
    await stuck.value
    #expect(await closed.next() == nil)
  }
}
