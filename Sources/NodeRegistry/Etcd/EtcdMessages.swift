internal import FoundationEssentials

// Messages of etcd's JSON gateway (api/v3 rpc.proto as grpc-gateway writes it): bytes are base64, 64-bit numbers text,
// and what is zero is left out.

/// One key as the store has it.
struct EtcdPair: Sendable, Hashable {
  var key: String
  var value: String
  /// Revision of its last change.
  var revision: Int64
}

/// A state of all keys below a prefix.
struct EtcdListing: Sendable, Hashable {
  var pairs: [EtcdPair]
  var revision: Int64
}

struct EtcdChange: Sendable, Hashable {
  var key: String
  /// nil: it is gone.
  var value: String?
  var revision: Int64
}

enum EtcdText {
  static func encode(_ text: String) -> String { Data(text.utf8).base64EncodedString() }

  static func decode(_ text: String?) -> String {
    text.flatMap { Data(base64Encoded: $0) }.map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  /// The end of the range of all keys that begin with `prefix`: its last byte one higher.
  static func end(of prefix: String) -> String {
    var bytes = Array(prefix.utf8)
    while let last = bytes.popLast() {
      if last < 0xff { return Data(bytes + [last + 1]).base64EncodedString() }
    }
    return encode("\0")
  }
}

/// A 64-bit number, which comes as text, or is left out.
struct EtcdNumber: Decodable, Sendable {
  var value: Int64

  init(from decoder: any Decoder) throws {
    let field = try decoder.singleValueContainer()
    if let text = try? field.decode(String.self) {
      value = Int64(text) ?? 0
    } else {
      value = try field.decode(Int64.self)
    }
  }
}

struct EtcdHeader: Decodable, Sendable {
  var revision: EtcdNumber?
}

struct EtcdKeyValue: Decodable, Sendable {
  var key: String?
  var value: String?
  var mod_revision: EtcdNumber?

  var pair: EtcdPair {
    EtcdPair(key: EtcdText.decode(key), value: EtcdText.decode(value), revision: mod_revision?.value ?? 0)
  }
}

struct EtcdRangeRequest: Encodable {
  var key: String
  var range_end: String
}

struct EtcdRangeAnswer: Decodable {
  var header: EtcdHeader?
  var kvs: [EtcdKeyValue]?
}

struct EtcdTransaction: Encodable, Sendable {
  struct Compare: Encodable, Sendable {
    var key: String
    var target: String
    var result = "EQUAL"
    var create_revision: String?
    var mod_revision: String?

    /// The key does not exist.
    static func isAbsent(_ key: String) -> Compare {
      Compare(key: EtcdText.encode(key), target: "CREATE", create_revision: "0")
    }

    /// The key is as it was read.
    static func isUnchanged(_ pair: EtcdPair) -> Compare {
      Compare(key: EtcdText.encode(pair.key), target: "MOD", mod_revision: "\(pair.revision)")
    }
  }

  struct Operation: Encodable, Sendable {
    struct Put: Encodable, Sendable {
      var key: String
      var value: String
      var lease: String?
    }

    struct Delete: Encodable, Sendable {
      var key: String
    }

    var request_put: Put?
    var request_delete_range: Delete?

    static func put(_ key: String, _ value: String, lease: Int64? = nil) -> Operation {
      Operation(
        request_put: Put(
          key: EtcdText.encode(key), value: EtcdText.encode(value), lease: lease.map { String($0) }))
    }

    static func delete(_ key: String) -> Operation {
      Operation(request_delete_range: Delete(key: EtcdText.encode(key)))
    }
  }

  var compare: [Compare]
  var success: [Operation]
}

struct EtcdTransactionAnswer: Decodable {
  var header: EtcdHeader?
  var succeeded: Bool?
}

struct EtcdLeaseRequest: Encodable {
  var TTL: String?
  var ID: String?
}

struct EtcdLeaseAnswer: Decodable {
  var ID: EtcdNumber?
  var TTL: EtcdNumber?
}

struct EtcdCompactRequest: Encodable {
  var revision: String
}

struct EtcdCompactAnswer: Decodable {
  var header: EtcdHeader?
}

/// What a stream carries: an answer, or the end of it.
struct EtcdStreamed<Answer: Decodable>: Decodable {
  var result: Answer?
  var error: EtcdFailure?
}

struct EtcdFailure: Decodable {
  var message: String?
  var error: String?

  var text: String { message ?? error ?? "no reason given" }
}

struct EtcdWatchRequest: Encodable {
  struct Create: Encodable {
    var key: String
    var range_end: String
    var start_revision: String
  }

  var create_request: Create
}

struct EtcdWatchAnswer: Decodable {
  struct Event: Decodable {
    /// Left out for a put.
    var type: String?
    var kv: EtcdKeyValue?
  }

  var header: EtcdHeader?
  var created: Bool?
  var canceled: Bool?
  var compact_revision: EtcdNumber?
  var cancel_reason: String?
  var events: [Event]?
}
