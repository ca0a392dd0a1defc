import CRIProtocol
import Foundation
import Testing
import Yams

@testable import CRIClient

@Suite struct OutputTests {
  @Test func aTablesColumns() {
    var table = Table("POD", "STATE", "ID")
    table.add("web", Table.Cell("Running", .green), "12")
    table.add("a-long-name", "", "3")
    #expect(
      table.lines() == [
        "POD           STATE     ID",
        "web           Running   12",
        "a-long-name   -         3",
      ])
    // Colour does not count for the width.
    #expect(table.lines { text, _ in "<\(text)>" }[1] == "web           <Running>   12")
    #expect(Table("A", "B").lines() == ["A   B"])
  }

  @Test(
    arguments: [
      (0, "0s"), (59, "59s"), (60, "1m"), (61, "1m1s"), (599, "9m59s"), (600, "10m"), (3_700, "1h1m"), (36_000, "10h"),
      (90_000, "1d1h"), (864_000, "10d"), (-5, "0s"),
    ] as [(Int64, String)])
  func ages(seconds: Int64, expected: String) {
    #expect(Humane.age(nanoseconds: seconds * 1_000_000_000) == expected)
  }

  @Test(
    arguments: [
      (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (54_200_000, "54.2 MB"), (999_600, "1.00 MB"),
      (271_000_000_000, "271 GB"),
    ] as [(UInt64, String)])
  func sizes(bytes: UInt64, expected: String) {
    #expect(Humane.size(bytes: bytes) == expected)
  }

  @Test(arguments: [
    (Duration.microseconds(1_234), "1.2 ms"), (.milliseconds(251), "251 ms"), (.milliseconds(1_240), "1.24 s"),
    (.seconds(125), "2 m 5 s"),
  ])
  func durations(duration: Duration, expected: String) {
    #expect(Humane.duration(duration) == expected)
  }

  @Test func idsAreShortened() {
    #expect(Humane.shortID("sha256:0123456789abcdef") == "0123456789ab")
    #expect(Humane.shortID("0123456789abcdef") == "0123456789ab")
  }

  static let sample = Value.record([
    "text": .string("a \"quoted\"\nline\u{1}"), "word": .string("yes"), "number": .string("1.21"), "port": .int(80),
    "none": .null, "empty": .list([]), "nothing": .object([]),
    "deep": .record(["list": .list([.bool(true), .int(-1)])]),
    "time": .string("2026-11-23T17:01:33.565496404Z"), "blank": .string(""), "tilde": .string("~"),
  ])

  @Test func jsonIsReadBackTheSame() throws {
    #expect(try Value(json: Data(Self.sample.json(compact: true).utf8)).sorted == Self.sample.sorted)
    #expect(try Value(json: Data(Self.sample.json().utf8)).sorted == Self.sample.sorted)
    #expect(Value.record(["b": .int(1), "a": .list([.int(2)])]).json() == "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}")
  }

  /// What a YAML reader takes a plain word for must come back as what it was.
  @Test func yamlKeepsTypes() throws {
    let node = try #require(try Yams.compose(yaml: Self.sample.yaml()))
    for word in ["word", "number", "time", "blank", "tilde", "text"] {
      guard case .string(let expected)? = Self.sample[word] else { continue }
      #expect(node[word]?.scalar?.string == expected, "\(word)")
      #expect(node[word]?.tag == Tag(.str) || node[word]?.scalar?.style != .plain, "\(word)")
    }
    #expect(node["port"]?.int == 80)
    #expect(node["none"]?.null != nil)
  }

  @Test func verboseAnswersBecomeData() {
    let value = Value(verboseInfo: ["config": "{\"pid\": 7}", "note": "{not json", "pid": "7"])
    #expect(value["config"]?["pid"] == .int(7))
    #expect(value["note"] == .string("{not json"))
    #expect(value["pid"] == .string("7"))
  }

  @Test func anErrorSaysWhatWhyAndWhatToTry() {
    let error = ClientError(
      .timeout, "cannot start default/web/app", why: "volume does not answer", details: ["pending 30 s"],
      remedy: "remove the volume")
    #expect(
      error.description == """
        error: cannot start default/web/app: volume does not answer
          pending 30 s
          try: remove the volume
        """)
  }

  @Test func coloursNeedATerminalAndNoObjection() {
    let none: (String) -> String? = { _ in nil }
    #expect(Terminal(environment: none, dataIsTerminal: true, notesIsTerminal: true).coloursData)
    #expect(!Terminal(environment: none, dataIsTerminal: false, notesIsTerminal: true).coloursData)
    let objecting: (String) -> String? = { $0 == "NO_COLOR" ? "1" : nil }
    #expect(!Terminal(environment: objecting, dataIsTerminal: true, notesIsTerminal: true).coloursNotes)
    #expect(Shown.time(1_795_453_293_565_496_404) == .string("2026-11-23T17:01:33.565496404Z"))
    #expect(Shown.time(0) == .null)
  }

  @Test(
    arguments: [
      (Runtime_V1_PodSandboxState.sandboxReady, #"{"pid": 42}"#, Int64(42)), (.sandboxReady, #"{"pid": 0}"#, nil),
      (.sandboxReady, #"{"shimPid": 42}"#, nil), (.sandboxReady, "no JSON", nil), (.sandboxReady, nil, nil),
      (.sandboxNotready, #"{"pid": 42}"#, nil),
    ] as [(Runtime_V1_PodSandboxState, String?, Int64?)])
  func pauseOfASandboxIsWhatTheRuntimeTells(state: Runtime_V1_PodSandboxState, info: String?, pid: Int64?) {
    var answer = Runtime_V1_PodSandboxStatusResponse()
    answer.status.state = state
    answer.info["info"] = info
    #expect(answer.pausePid == pid)
  }
}

extension Value {
  /// With the members of every object sorted.
  fileprivate var sorted: Value {
    switch self {
    case .object(let members): .object(members.map { Member($0.key, $0.value.sorted) }.sorted { $0.key < $1.key })
    case .list(let values): .list(values.map(\.sorted))
    default: self
    }
  }
}
