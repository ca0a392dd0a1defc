import ArgumentParser
import CRIProtocol
import Foundation
import SwiftProtobuf

struct VersionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Prints the versions of this client and of the runtime.")

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let response: Runtime_V1_VersionResponse
    do {
      response = try await global.withRuntime { connection in
        try await connection.call("ask for the version", deadline: .seconds(10)) { connection, options in
          try await connection.runtime.version(.with { $0.version = "v1" }, options: options)
        }
      }
    } catch {
      try output.print(["client": .string(Swiftlet.version)], table: Self.table([("client", Swiftlet.version)]))
      throw error
    }
    let value = Value.record([
      "client": .string(Swiftlet.version),
      "runtime": .record([
        "name": .string(response.runtimeName), "version": .string(response.runtimeVersion),
        "apiVersion": .string(response.runtimeApiVersion),
      ]),
    ])
    try output.print(
      value,
      table: Self.table([
        ("client", Swiftlet.version), ("runtime", "\(response.runtimeName) \(response.runtimeVersion)"),
        ("cri", response.runtimeApiVersion),
      ]))
  }

  private static func table(_ rows: [(String, String)]) -> Table {
    var table = Table("WHAT", "VERSION")
    for (what, version) in rows { table.add(Table.Cell(what), Table.Cell(version)) }
    return table
  }
}

struct RuntimeStatus: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Prints the runtime's conditions; with -o json or yaml all it says about itself.")

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let response = try await global.withRuntime { connection in
      try await connection.call("ask for the status", deadline: .seconds(30)) { connection, options in
        try await connection.runtime.status(.with { $0.verbose = true }, options: options)
      }
    }
    var table = Table("CONDITION", "STATUS", "REASON", "MESSAGE")
    for condition in response.status.conditions {
      table.add(
        Table.Cell(condition.type), condition.status ? Table.Cell("true", .green) : Table.Cell("false", .red),
        Table.Cell(condition.reason), Table.Cell(condition.message))
    }
    try output.print(Self.value(response), table: table)
  }

  static func value(_ response: Runtime_V1_StatusResponse) throws -> Value {
    let conditions = response.status.conditions.map { condition in
      Value.record([
        "type": .string(condition.type), "status": .bool(condition.status), "reason": .string(condition.reason),
        "message": .string(condition.message),
      ])
    }
    return .record([
      "conditions": .list(conditions),
      "runtimeHandlers": .list(try response.runtimeHandlers.map { try Value(message: $0) }),
      "features": try Value(message: response.features),
      "info": Value(verboseInfo: response.info),
    ])
  }
}

extension Value: ExpressibleByDictionaryLiteral {
  init(dictionaryLiteral elements: (String, Value)...) { self = .object(elements.map { Member($0.0, $0.1) }) }

  /// The `info` of a verbose answer: values that are JSON become data.
  init(verboseInfo: [String: String]) {
    self = .object(
      verboseInfo.sorted { $0.key < $1.key }.map { key, text in
        let isJSON = text.hasPrefix("{") || text.hasPrefix("[")
        let parsed = isJSON ? try? Value(json: Data(text.utf8)) : nil
        return Member(key, parsed ?? .string(text))
      })
  }
}
