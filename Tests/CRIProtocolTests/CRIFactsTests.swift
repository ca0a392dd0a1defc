import Foundation
import SwiftProtobuf
import Testing

/// `proto/cri` is written by hand; `cri-fields.tsv` says what every CRI v1 client and server agrees on: each RPC,
/// message, field and enum value with its number, type and label. The two must say the same.
@Suite struct CRIFactsTests {
  private static let here = URL(filePath: #filePath).deletingLastPathComponent()

  @Test func `proto and the facts of CRI v1 agree both ways`() throws {
    let facts = try Self.facts()
    let described = try Self.described()
    #expect(facts.count > 600)
    #expect(facts.subtracting(described).sorted() == [], "facts that proto/cri does not hold")
    #expect(described.subtracting(facts).sorted() == [], "what proto/cri has beyond the facts")
  }

  private static func facts() throws -> Set<String> {
    let text = try String(contentsOf: here.appending(path: "cri-fields.tsv"), encoding: .utf8)
    return Set(text.split(separator: "\n").dropFirst().map(String.init))
  }

  private static func described() throws -> Set<String> {
    var rows: Set<String> = []
    for file in try descriptors().file {
      #expect(file.package == "runtime.v1")
      for service in file.service {
        for method in service.method {
          rows.insert(row("rpc", "\(file.package).\(service.name)", method.name, "-", input(method), output(method)))
        }
      }
      for message in file.messageType { insert(message, named: message.name, into: &rows) }
      for kind in file.enumType { insert(kind, named: kind.name, into: &rows) }
    }
    return rows
  }

  private static func insert(
    _ message: Google_Protobuf_DescriptorProto, named name: String, into rows: inout Set<String>
  ) {
    if message.field.isEmpty { rows.insert(row("message", name, "-", "-", "-", "-")) }
    let maps = message.nestedType.filter(\.options.mapEntry)
    for field in message.field {
      let map = maps.first { field.typeName.hasSuffix(".\(name).\($0.name)") }
      let label =
        field.options.deprecated ? "deprecated" : field.label == .repeated && map == nil ? "repeated" : ""
      let type = map.map { "map<\(typeName(of: $0.field[0])),\(typeName(of: $0.field[1]))>" } ?? typeName(of: field)
      rows.insert(row("field", name, field.name, String(field.number), type, label))
    }
    for nested in message.nestedType where !nested.options.mapEntry {
      insert(nested, named: "\(name).\(nested.name)", into: &rows)
    }
    for kind in message.enumType { insert(kind, named: "\(name).\(kind.name)", into: &rows) }
  }

  private static func insert(
    _ kind: Google_Protobuf_EnumDescriptorProto, named name: String, into rows: inout Set<String>
  ) {
    for value in kind.value { rows.insert(row("enum", name, value.name, String(value.number), "-", "-")) }
  }

  private static func row(_ columns: String...) -> String { columns.joined(separator: "\t") }

  private static func input(_ method: Google_Protobuf_MethodDescriptorProto) -> String {
    (method.clientStreaming ? "stream " : "") + last(method.inputType)
  }

  private static func output(_ method: Google_Protobuf_MethodDescriptorProto) -> String {
    (method.serverStreaming ? "stream " : "") + last(method.outputType)
  }

  private static func typeName(of field: Google_Protobuf_FieldDescriptorProto) -> String {
    switch field.type {
    case .double: "double"
    case .int64: "int64"
    case .uint64: "uint64"
    case .int32: "int32"
    case .uint32: "uint32"
    case .bool: "bool"
    case .string: "string"
    case .bytes: "bytes"
    case .message, .enum: last(field.typeName)
    default: "\(field.type), which CRI does not use"
    }
  }

  /// The facts name types without their scope.
  private static func last(_ name: String) -> String { String(name.split(separator: ".").last ?? "") }

  /// What Debian's protoc reads from `proto/cri`.
  private static func descriptors() throws -> Google_Protobuf_FileDescriptorSet {
    let proto = here.appending(path: "../../proto").standardizedFileURL
    let files = try FileManager.default.contentsOfDirectory(atPath: proto.appending(path: "cri").path())
    let output = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).descriptors")
    defer { try? FileManager.default.removeItem(at: output) }
    let compiler = Process()
    compiler.executableURL = URL(filePath: "/usr/bin/protoc")
    compiler.arguments =
      ["-I", proto.path(), "--descriptor_set_out=\(output.path())"]
      + files.filter { $0.hasSuffix(".proto") }.map { "cri/\($0)" }
    try compiler.run()
    compiler.waitUntilExit()
    try #require(compiler.terminationStatus == 0, "protoc fails")
    return try Google_Protobuf_FileDescriptorSet(serializedBytes: Data(contentsOf: output))
  }
}
