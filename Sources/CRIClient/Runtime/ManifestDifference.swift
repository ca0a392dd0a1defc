/// What has changed between two manifests, by field path.
enum ManifestDifference {
  /// Lines `+ path: value`, `- path: value`, `~ path: old -> new`, sorted by path.
  static func lines(from old: Value, to new: Value) -> [String] {
    let before = leaves(old)
    let after = leaves(new)
    return Set(before.keys).union(after.keys).sorted().compactMap { path in
      switch (before[path], after[path]) {
      case (let old?, let new?): old == new ? nil : "~ \(path): \(old) -> \(new)"
      case (let old?, nil): "- \(path): \(old)"
      case (nil, let new?): "+ \(path): \(new)"
      case (nil, nil): nil
      }
    }
  }

  private static func leaves(_ value: Value, path: String = "") -> [String: String] {
    var result: [String: String] = [:]
    switch value {
    case .object(let members) where !members.isEmpty:
      for member in members {
        let inner = leaves(member.value, path: path.isEmpty ? member.key : "\(path).\(member.key)")
        result.merge(inner) { $1 }
      }
    case .list(let values) where !values.isEmpty:
      for (index, element) in values.enumerated() {
        result.merge(leaves(element, path: "\(path)[\(index)]")) { $1 }
      }
    default: result[path] = value.json(compact: true)
    }
    return result
  }
}
