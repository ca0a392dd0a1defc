import Yams

/// One document of a manifest file, read.
struct ManifestDocument: Sendable, Equatable {
  var pod: PodManifest
  /// The document with its members sorted: what `play` compares to find out whether a pod has changed.
  var canonical: Value
}

/// Reads manifest files.
enum ManifestParser {
  /// Reads every document of a file.
  ///
  /// - Parameters:
  ///   - file: its name, for messages.
  ///   - isLenient: unknown and unsupported fields are warnings.
  /// - Returns: the pods, and what a person should know besides: warnings and notes.
  /// - Throws: ``ClientError`` with every mistake found and its place.
  static func parse(
    _ text: String, file: String, isLenient: Bool = false
  ) throws(ClientError) -> (documents: [ManifestDocument], remarks: [ManifestProblem]) {
    let report = ManifestReport(file: file, isLenient: isLenient)
    var documents: [ManifestDocument] = []
    do {
      let parser = try Yams.Parser(yaml: text)
      while let root = try parser.nextRoot() {
        let origin = FieldNode(node: root, path: "", report: report, fallback: nil)
        if origin.isNull { continue }
        guard let fields = origin.fields(), let pod = readDocument(fields) else { continue }
        documents.append(ManifestDocument(pod: pod, canonical: canonical(root)))
      }
    } catch {
      addSyntaxError(error, to: report)
    }
    checkUnique(documents, report)
    if report.errors.isEmpty, documents.isEmpty {
      report.add(.error, line: 0, column: 0, path: "", "holds no document")
    }
    guard report.errors.isEmpty else { throw failure(report) }
    return (documents, report.problems)
  }

  private static func failure(_ report: ManifestReport) -> ClientError {
    let shown = report.errors.prefix(20).map(\.description)
    let rest = report.errors.count - shown.count
    return ClientError(
      .failed, "cannot use \(report.file)",
      why: report.errors.count == 1 ? "1 mistake" : "\(report.errors.count) mistakes",
      details: shown + (rest > 0 ? ["… and \(rest) more"] : []),
      remedy: report.hasRefusedField ? "remove the field, or pass --lenient to go on without it" : nil)
  }

  private static func addSyntaxError(_ error: any Error, to report: ManifestReport) {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      report.add(.error, line: mark.line, column: mark.column, path: "", "is not YAML: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      report.add(
        .error, line: context.mark.line, column: context.mark.column, path: "",
        "has the key \(duplicates.joined(separator: ", ")) twice")
    case .reader(let problem, _, _, _):
      report.add(.error, line: 0, column: 0, path: "", "is not YAML: \(problem)")
    default:
      report.add(.error, line: 0, column: 0, path: "", "is not YAML: \(error)")
    }
  }

  private static func checkUnique(_ documents: [ManifestDocument], _ report: ManifestReport) {
    var seen: Set<String> = []
    for document in documents where !seen.insert(document.pod.qualifiedName).inserted {
      report.add(
        .error, line: 0, column: 0, path: "metadata.name", "pod \(document.pod.qualifiedName) is there twice")
    }
  }

  private static func readDocument(_ fields: FieldReader) -> PodManifest? {
    let version = fields.requiredString("apiVersion")
    let kind = fields.requiredString("kind")
    if let kind, kind != "Pod" {
      fields.origin.fail("kind \(kind) is not supported: swiftlet plays kind Pod only")
      return nil
    }
    if let version, version != "v1" {
      fields.origin.fail("apiVersion \(version) is not supported: kind Pod is in v1")
    }
    let metadata = fields["metadata"]
    let spec = fields["spec"]
    fields.ignored(["status"])
    fields.finish()
    guard let metadata, let metadataFields = metadata.fields() else {
      if metadata == nil { fields.origin.fail("metadata is missing") }
      return nil
    }
    guard let spec, let specFields = spec.fields() else {
      if spec == nil { fields.origin.fail("spec is missing") }
      return nil
    }
    guard kind != nil, version != nil else { return nil }
    guard var pod = readMetadata(metadataFields) else {
      // The rest is read all the same, for its mistakes.
      var ignored = PodManifest(name: "unnamed", containers: [])
      PodSpecReader.read(specFields, into: &ignored)
      return nil
    }
    PodSpecReader.read(specFields, into: &pod)
    return pod
  }

  private static func readMetadata(_ fields: FieldReader) -> PodManifest? {
    let nameNode = fields["name"]
    let namespaceNode = fields["namespace"]
    let labels = fields["labels"]?.stringMap() ?? []
    let annotations = fields["annotations"]?.stringMap() ?? []
    fields.ignored(["creationTimestamp"])
    fields.unsupported(
      ["generateName", "uid", "resourceVersion", "generation", "finalizers", "ownerReferences", "managedFields"],
      "is set by an API server and means nothing here")
    fields.finish()
    for (key, value, node) in labels {
      if let reason = Names.labelKeyTrouble(key) ?? Names.labelValueTrouble(value) {
        node.fail("\(reason): a Kubernetes API server would refuse it; taken as it is", .warning)
      }
    }
    guard let nameNode else {
      fields.origin.fail("name is missing")
      return nil
    }
    guard let name = nameNode.string() else { return nil }
    if let reason = Names.subdomainTrouble(name) {
      nameNode.fail(reason)
      return nil
    }
    var pod = PodManifest(name: name, containers: [])
    if let namespaceNode, let namespace = namespaceNode.string() {
      if let reason = Names.labelTrouble(namespace) { namespaceNode.fail(reason) }
      pod.namespace = namespace
    }
    pod.labels = Dictionary(labels.map { ($0.key, $0.value) }, uniquingKeysWith: { $1 })
    pod.annotations = Dictionary(annotations.map { ($0.key, $0.value) }, uniquingKeysWith: { $1 })
    return pod
  }

  /// The document as data, without what an API server writes and with sorted members.
  private static func canonical(_ node: Node, isRoot: Bool = true) -> Value {
    switch node {
    case .mapping(let mapping):
      let members = mapping.compactMap { key, value -> Value.Member? in
        let name = key.scalar?.string ?? ""
        if value.tag == Tag(.null) || (isRoot && name == "status") { return nil }
        return Value.Member(name, canonical(value, isRoot: false))
      }
      return .object(members.sorted { $0.key < $1.key })
    case .sequence(let sequence): return .list(sequence.map { canonical($0, isRoot: false) })
    case .scalar(let scalar):
      switch node.tag {
      case Tag(.bool): return .bool(node.bool ?? false)
      case Tag(.int): return node.int.map { .int(Int64($0)) } ?? .string(scalar.string)
      case Tag(.float): return node.float.map { .double($0) } ?? .string(scalar.string)
      case Tag(.null): return .null
      default: return .string(scalar.string)
      }
    case .alias: return .null
    }
  }
}
