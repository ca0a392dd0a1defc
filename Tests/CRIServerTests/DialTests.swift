import RuntimeModel
import Testing

@testable import CRIServer

struct DialTests {
  @Test func `a pod that answers no connection takes none from another`() throws {
    let dials = Dials()
    let (first, second) = (Identifier.random(), Identifier.random())
    for _ in 0..<128 { try dials.begin(for: first, "first") }
    let error = #expect(throws: RuntimeError.self) { try dials.begin(for: first, "first") }
    #expect(error?.code == .resourceExhausted && error.map { "\($0)".contains("first") } == true)
    try dials.begin(for: second, "second")
    dials.end(for: first)
    try dials.begin(for: first, "first")
  }
}
