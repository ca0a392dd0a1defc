import RuntimeModel

/// Reads one specification, JSON or YAML, and holds it to the version that it names.
struct SpecReader {
  /// The versions of the specification, oldest first; fields came with some of them.
  static let versions = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"]

  private let file: String
  /// Index into `versions`.
  private var version = 0

  /// - Parameter file: for texts.
  /// - Throws: `failedPrecondition` naming file, field and what is wrong with it.
  static func read(_ bytes: [UInt8], file: String) throws(RuntimeError) -> DeviceSpec {
    var reader = SpecReader(file: file)
    return try reader.read(try ObjectReader(try YAMLValue.parse(bytes, file: file), at: file))
  }

  private init(file: String) { self.file = file }

  private mutating func read(_ object: ObjectReader) throws(RuntimeError) -> DeviceSpec {
    var object = object
    let text = try object.requiredString("cdiVersion")
    guard let index = Self.versions.firstIndex(of: text.hasPrefix("v") ? String(text.dropFirst()) : text) else {
      throw object.failure("cdiVersion", "\"\(text)\" is none of \(Self.versions.joined(separator: ", "))")
    }
    version = index
    let kind = try object.requiredString("kind")
    let parts = kind.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, DeviceName.isWord(parts[0]), DeviceName.isWord(parts[1]) else {
      throw object.failure("kind", "\"\(kind)\" is not vendor/class")
    }
    if parts[1].contains(".") { try require("0.6.0", object, "kind") }
    if object.has("annotations") { try require("0.6.0", object, "annotations") }
    var spec = DeviceSpec(
      file: file, vendor: String(parts[0]), kindClass: String(parts[1]), edits: ContainerEdits(), devices: [:])
    if let edits = try object.object("containerEdits") { spec.edits = try self.edits(edits) }
    for device in try object.objects("devices") {
      let (name, edits) = try self.device(device)
      guard spec.devices.updateValue(edits, forKey: name) == nil else {
        throw device.failure("name", "\"\(name)\" comes twice")
      }
    }
    guard !spec.devices.isEmpty else { throw object.failure("devices", "is empty") }
    try object.finish()
    return spec
  }

  private func device(_ object: ObjectReader) throws(RuntimeError) -> (String, ContainerEdits) {
    var object = object
    let name = try object.requiredString("name")
    guard DeviceName.isWord(name[...], more: ":", startsWithDigit: true) else {
      throw object.failure("name", "\"\(name)\" is no name of a device")
    }
    if name.first?.isNumber == true { try require("0.5.0", object, "name") }
    if object.has("annotations") { try require("0.6.0", object, "annotations") }
    guard let edits = try object.object("containerEdits") else { throw object.failure("containerEdits", "is missing") }
    let read = try self.edits(edits)
    guard !read.isEmpty else { throw object.failure("containerEdits", "is empty") }
    try object.finish()
    return (name, read)
  }

  private func edits(_ object: ObjectReader) throws(RuntimeError) -> ContainerEdits {
    var object = object
    var edits = ContainerEdits()
    edits.environment = try object.strings("env")
    for line in edits.environment
    where (line.utf8.firstIndex(of: UInt8(ascii: "=")) ?? line.startIndex) == line.startIndex {
      throw object.failure("env", "\"\(line)\" is not KEY=value")
    }
    for node in try object.objects("deviceNodes") { edits.nodes.append(try self.node(node)) }
    for mount in try object.objects("mounts") { edits.mounts.append(try self.mount(mount)) }
    for value in try object.list("additionalGids") {
      guard case .scalar(let text, true) = value, let number = ObjectReader.number(text), number <= 0x7fff_ffff else {
        throw object.failure("additionalGids", "holds something that is no group's number")
      }
      try require("0.7.0", object, "additionalGids")
      if number != 0 { edits.additionalGIDs.append(number) }
    }
    for (field, since) in [("hooks", "0.1.0"), ("netDevices", "1.1.0"), ("intelRdt", "0.7.0")] where object.has(field) {
      try require(since, object, field)
      edits.refused.append(field)
    }
    try object.finish()
    return edits
  }

  private func node(_ object: ObjectReader) throws(RuntimeError) -> DeviceNode {
    var object = object
    let path = try object.requiredString("path")
    let hostPath = try object.string("hostPath") ?? ""
    if !hostPath.isEmpty { try require("0.5.0", object, "hostPath") }
    for (field, value) in [("path", path), ("hostPath", hostPath)] where !value.isEmpty && !value.hasPrefix("/") {
      throw object.failure(field, "\"\(value)\" is not absolute")
    }
    var node = DeviceNode(path: path, hostPath: hostPath.isEmpty ? path : hostPath)
    if let type = try object.string("type"), !type.isEmpty {
      guard ["b", "c", "u", "p"].contains(type) else { throw object.failure("type", "\"\(type)\" is not b, c, u or p") }
      node.type = type
    }
    node.major = try object.number("major")
    node.minor = try object.number("minor")
    node.fileMode = try object.number("fileMode")
    node.uid = try object.number("uid")
    node.gid = try object.number("gid")
    switch try object.string("permissions") ?? "" {
    case "": break
    case "none": node.permissions = ""
    case let letters:
      guard letters.allSatisfy({ "rwm".contains($0) }), Set(letters).count == letters.count else {
        throw object.failure("permissions", "\"\(letters)\" is not none or some of rwm")
      }
      node.permissions = letters
    }
    try object.finish()
    return node
  }

  private func mount(_ object: ObjectReader) throws(RuntimeError) -> EditMount {
    var object = object
    var mount = EditMount(
      hostPath: try object.requiredString("hostPath"), containerPath: try object.requiredString("containerPath"))
    guard mount.containerPath.hasPrefix("/") else {
      throw object.failure("containerPath", "\"\(mount.containerPath)\" is not absolute")
    }
    mount.options = try object.strings("options")
    mount.type = try object.string("type") ?? ""
    if !mount.type.isEmpty { try require("0.4.0", object, "type") }
    try object.finish()
    return mount
  }

  /// - Throws: when the file names an older version than the one that brought the field.
  private func require(_ since: String, _ object: ObjectReader, _ field: String) throws(RuntimeError) {
    guard let needed = Self.versions.firstIndex(of: since), version < needed else { return }
    throw object.failure(field, "needs cdiVersion \(since), and the file has \(Self.versions[version])")
  }
}
