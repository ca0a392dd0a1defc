internal import Glibc
internal import LinuxSystem
internal import RuntimeModel

/// One ADD as DEL will need it: the specification has the runtime keep it. A file each, so that it is there after a
/// restart and after a reboot, which plugins' own files outlive.
struct CachedAttachment: Sendable {
  var sandbox: Identifier
  /// The list as it was then, whatever the directory holds now.
  var list: NetworkList
  var interface: String
  var namespacePath: String
  var arguments: String
  var runtimeConfig: [String: JSON]
  /// nil: ADD has begun, and nobody knows how far it came.
  var result: JSON?
}

struct AttachmentCache: Sendable {
  private static let form: Int64 = 1

  var directory: String

  /// Sandboxes that have a file here.
  var sandboxes: [Identifier] {
    fileNames(directory).compactMap { $0.hasSuffix(".json") ? Identifier(String($0.dropLast(5))) : nil }
  }

  /// - Throws: ``LaterFormat`` when a later version has written one of the files: it could not be detached.
  func check() throws(LaterFormat) {
    for sandbox in sandboxes {
      let path = path(sandbox)
      guard let bytes = try? readSmallFile(path, limit: 4 << 20), let found = (try? JSON(parsing: bytes))?["form"]?.int,
        found > Self.form
      else { continue }
      throw LaterFormat(subject: path, found: found, known: Self.form)
    }
  }

  func write(_ attachment: CachedAttachment) throws(CNIError) {
    var json = JSON.object([
      "form": .int(Self.form), "list": attachment.list.source, "path": .string(attachment.list.path),
      "interface": .string(attachment.interface), "namespace": .string(attachment.namespacePath),
      "arguments": .string(attachment.arguments), "runtimeConfig": .object(attachment.runtimeConfig),
    ])
    json["result"] = attachment.result
    do {
      try PrivateDirectory.make(directory)
      try writeFileAtomically(path(attachment.sandbox), json.bytes)
    } catch {
      throw .system("remember an attachment", error)
    }
  }

  /// - Returns: nil when there is none.
  /// - Throws: `badConfiguration` for a file that does not read: what it told of must be looked after by hand.
  func read(_ sandbox: Identifier) throws(CNIError) -> CachedAttachment? {
    let path = path(sandbox)
    guard access(path, F_OK) == 0 else { return nil }
    let bytes: [UInt8]
    do {
      bytes = try readSmallFile(path, limit: 4 << 20)
    } catch {
      throw .badConfiguration(path: path, reason: "\(error)")
    }
    guard let json = try? JSON(parsing: bytes), json["form"]?.int == Self.form, let source = json["list"] else {
      throw .badConfiguration(path: path, reason: "is no attachment of this version")
    }
    return CachedAttachment(
      sandbox: sandbox, list: try NetworkList(source, path: json["path"]?.string ?? path),
      interface: json["interface"]?.string ?? "eth0", namespacePath: json["namespace"]?.string ?? "",
      arguments: json["arguments"]?.string ?? "", runtimeConfig: json["runtimeConfig"]?.object ?? [:],
      result: json["result"])
  }

  func remove(_ sandbox: Identifier) throws(CNIError) {
    if unlink(path(sandbox)) != 0, errno != ENOENT {
      throw .system("forget an attachment", SystemCallError(call: "unlink", subject: path(sandbox)))
    }
  }

  private func path(_ sandbox: Identifier) -> String { "\(directory)/\(sandbox).json" }
}
