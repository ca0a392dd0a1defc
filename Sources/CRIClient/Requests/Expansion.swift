/// `$(NAME)` in a container's command, arguments and environment, as Kubernetes expands it.
enum Expansion {
  /// Replaces each `$(NAME)` whose name is known; `$$` is a dollar sign, and anything else stays as it is.
  static func expand(_ text: String, with values: [String: String]) -> String {
    guard text.contains("$") else { return text }
    var result = ""
    var rest = text[...]
    while let dollar = rest.firstIndex(of: "$") {
      result += rest[..<dollar]
      let next = rest.index(after: dollar)
      guard next < rest.endIndex else {
        result += "$"
        return result
      }
      if rest[next] == "$" {
        result += "$"
        rest = rest[rest.index(after: next)...]
      } else if rest[next] == "(", let close = rest[next...].firstIndex(of: ")") {
        let name = String(rest[rest.index(after: next)..<close])
        result += values[name] ?? String(rest[dollar...close])
        rest = rest[rest.index(after: close)...]
      } else {
        result += "$"
        rest = rest[next...]
      }
    }
    return result + rest
  }

  /// Text that expands to `text` itself.
  static func escape(_ text: String) -> String {
    text.split(separator: "$", omittingEmptySubsequences: false).joined(separator: "$$")
  }

  /// The environment in order, each value expanded by those before it.
  static func environment(_ variables: [EnvironmentVariable]) -> [EnvironmentVariable] {
    var known: [String: String] = [:]
    return variables.map { variable in
      let value = expand(variable.value, with: known)
      known[variable.name] = value
      return EnvironmentVariable(name: variable.name, value: value)
    }
  }
}
