internal import FoundationEssentials

/// A seccomp profile of the node's, as it stands in its file: the OCI runtime specification's `linux.seccomp`, or
/// Docker's form of it with `archMap`, `includes` and `excludes`.
///
/// A field that neither form has is refused: a misspelt one would leave a hole that nobody sees.
struct LocalhostProfile: Sendable {
  var defaultAction: String
  var defaultErrnoRet: UInt32?
  var defaultErrno: String?
  var architectures: [String]
  var archMap: [Family]
  var flags: [String]
  var syscalls: [Rule]

  /// Docker's: an architecture, and those whose calls its kernel takes as well.
  struct Family: Sendable {
    var architecture: String
    var subArchitectures: [String]
  }

  struct Rule: Sendable {
    var names: [String]
    var action: String
    var errnoRet: UInt32?
    /// Docker's newer form of the errno, by name.
    var errno: String?
    var args: [Argument]
    var includes: Condition
    var excludes: Condition
  }

  /// A test of one argument: `op` of SCMP_CMP_*.
  struct Argument: Sendable {
    var index: UInt32
    var value: UInt64
    /// Of SCMP_CMP_MASKED_EQ: what the argument, masked by `value`, must be.
    var valueTwo: UInt64
    var op: String
  }

  /// Docker's: when a rule counts.
  struct Condition: Sendable {
    var caps: [String] = []
    /// As Go names them: amd64, arm64.
    var arches: [String] = []
    /// `4.8`
    var minKernel: String?
  }

  /// - Throws: ``SeccompError/profile(place:reason:)``.
  init(parsing bytes: [UInt8]) throws(SeccompError) {
    guard bytes.count <= SeccompCompiler.largestProfile else {
      throw .profile(place: "", reason: "larger than \(SeccompCompiler.largestProfile) bytes")
    }
    do {
      self = try JSONDecoder().decode(LocalhostProfile.self, from: Data(bytes))
    } catch {
      throw SeccompError(decoding: error)
    }
  }
}

extension LocalhostProfile: Decodable {
  private enum Key: String, CodingKey, CaseIterable {
    case defaultAction, defaultErrnoRet, defaultErrno, architectures, archMap, flags, listenerPath, listenerMetadata
    case syscalls, comment
  }

  init(from decoder: any Decoder) throws {
    let fields = try decoder.fields(Key.self)
    for key in [Key.listenerPath, .listenerMetadata] {
      guard try fields.decodeIfPresent(String.self, forKey: key) ?? "" == "" else {
        throw fields.corrupted(key, "notifications are not supported: there is no agent to receive them")
      }
    }
    defaultAction = try fields.decode(String.self, forKey: .defaultAction)
    defaultErrnoRet = try fields.number(.defaultErrnoRet)
    defaultErrno = try fields.decodeIfPresent(String.self, forKey: .defaultErrno)
    architectures = try fields.list(.architectures)
    archMap = try fields.list(.archMap)
    flags = try fields.list(.flags)
    syscalls = try fields.list(.syscalls)
    guard architectures.isEmpty || archMap.isEmpty else {
      throw fields.corrupted(.archMap, "given beside architectures; a profile has one of them")
    }
  }
}

extension LocalhostProfile.Family: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case architecture, subArchitectures }

  init(from decoder: any Decoder) throws {
    let fields = try decoder.fields(Key.self)
    architecture = try fields.decode(String.self, forKey: .architecture)
    subArchitectures = try fields.list(.subArchitectures)
  }
}

extension LocalhostProfile.Rule: Decodable {
  private enum Key: String, CodingKey, CaseIterable {
    case name, names, action, errnoRet, errno, args, includes, excludes, comment
  }

  init(from decoder: any Decoder) throws {
    let fields = try decoder.fields(Key.self)
    names = try fields.list(.names)
    if let name = try fields.decodeIfPresent(String.self, forKey: .name), !name.isEmpty {
      guard names.isEmpty else { throw fields.corrupted(.name, "given beside names; a rule has one of them") }
      names = [name]
    }
    guard !names.isEmpty else { throw fields.corrupted(.names, "is missing or empty") }
    action = try fields.decode(String.self, forKey: .action)
    errnoRet = try fields.number(.errnoRet)
    errno = try fields.decodeIfPresent(String.self, forKey: .errno)
    args = try fields.list(.args)
    includes = try fields.decodeIfPresent(LocalhostProfile.Condition.self, forKey: .includes) ?? .init()
    excludes = try fields.decodeIfPresent(LocalhostProfile.Condition.self, forKey: .excludes) ?? .init()
  }
}

extension LocalhostProfile.Argument: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case index, value, valueTwo, op }

  init(from decoder: any Decoder) throws {
    let fields = try decoder.fields(Key.self)
    guard let index: UInt32 = try fields.number(.index) else { throw fields.corrupted(.index, "is missing") }
    guard let value: UInt64 = try fields.number(.value) else { throw fields.corrupted(.value, "is missing") }
    self.index = index
    self.value = value
    valueTwo = try fields.number(.valueTwo) ?? 0
    op = try fields.decode(String.self, forKey: .op)
  }
}

extension LocalhostProfile.Condition: Decodable {
  private enum Key: String, CodingKey, CaseIterable { case caps, arches, minKernel }

  init(from decoder: any Decoder) throws {
    let fields = try decoder.fields(Key.self)
    caps = try fields.list(.caps)
    arches = try fields.list(.arches)
    minKernel = try fields.decodeIfPresent(String.self, forKey: .minKernel)
  }
}

// MARK: - Decoding strictly

private struct AnyKey: CodingKey {
  var stringValue: String
  var intValue: Int? { nil }

  init(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

extension Decoder {
  /// The members of an object, all of which must be known.
  fileprivate func fields<Key: CodingKey & CaseIterable>(_ type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    let known = Set(Key.allCases.map(\.stringValue))
    for key in try container(keyedBy: AnyKey.self).allKeys where !known.contains(key.stringValue) {
      throw DecodingError.dataCorrupted(
        .init(codingPath: codingPath + [key], debugDescription: "is no field of a seccomp profile"))
    }
    return try container(keyedBy: type)
  }
}

extension KeyedDecodingContainer {
  /// Absent and null are empty.
  fileprivate func list<Element: Decodable>(_ key: Key) throws -> [Element] {
    try decodeIfPresent([Element].self, forKey: key) ?? []
  }

  /// Absent and null are nil. What does not fit is said with its place; the decoder's own error has none.
  fileprivate func number<Number: FixedWidthInteger & Decodable>(_ key: Key) throws -> Number? {
    do {
      return try decodeIfPresent(Number.self, forKey: key)
    } catch {
      if let error = error as? DecodingError, case .typeMismatch = error { throw error }
      throw corrupted(key, "is not a number from \(Number.min) to \(Number.max)")
    }
  }

  fileprivate func corrupted(_ key: Key, _ reason: String) -> DecodingError {
    .dataCorrupted(.init(codingPath: codingPath + [key], debugDescription: reason))
  }
}

extension SeccompError {
  /// What the decoder says, with the place as `syscalls[3].args[0].op`.
  fileprivate init(decoding error: any Error) {
    guard let error = error as? DecodingError else {
      self = .profile(place: "", reason: "not a seccomp profile in JSON")
      return
    }
    let (context, key, reason): (DecodingError.Context, (any CodingKey)?, String) =
      switch error {
      case .keyNotFound(let key, let context): (context, key, "is missing")
      case .valueNotFound(_, let context): (context, nil, "is null")
      case .typeMismatch(_, let context): (context, nil, "has the wrong type")
      case .dataCorrupted(let context): (context, nil, context.debugDescription)
      @unknown default: (.init(codingPath: [], debugDescription: ""), nil, "not a seccomp profile in JSON")
      }
    var place = ""
    for part in context.codingPath + (key.map { [$0] } ?? []) {
      if let index = part.intValue {
        place += "[\(index)]"
      } else {
        place += (place.isEmpty ? "" : ".") + part.stringValue.prefix(64)
      }
    }
    self = .profile(
      place: place, reason: place.isEmpty ? "not a seccomp profile in JSON: \(reason.prefix(200))" : reason)
  }
}
