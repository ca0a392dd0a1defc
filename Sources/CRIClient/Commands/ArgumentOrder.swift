/// Freedoms of the command line that the parser does not know.
enum ArgumentOrder {
  /// Options that every command takes, each with a value.
  private static let common = ["--socket", "--runtime-endpoint", "-r", "--output", "-o"]

  /// Options without a value of the commands that `terminated` looks at.
  private static let flags = [
    "--host-network", "--privileged", "--rm", "--stdin", "--tty", "-i", "-t", "-it", "-ti", "--help", "-h",
  ]

  static func normalise(_ arguments: [String]) -> [String] { terminated(commandFirst(arguments)) }

  /// Lets the common options stand before the command too, as in `swiftlet --socket P ps`.
  private static func commandFirst(_ arguments: [String]) -> [String] {
    var position = 0
    while position < arguments.count {
      let argument = arguments[position]
      if common.contains(argument), position + 1 < arguments.count {
        position += 2
      } else if common.contains(where: { $0.hasPrefix("--") && argument.hasPrefix($0 + "=") }) {
        position += 1
      } else {
        break
      }
    }
    guard position > 0, position < arguments.count, !arguments[position].hasPrefix("-") else { return arguments }
    var end = position + 1
    // A command of two words stays together.
    if arguments[position] == "net", end < arguments.count, ["graph", "show"].contains(arguments[end]) { end += 1 }
    return Array(arguments[position..<end] + arguments[..<position] + arguments[end...])
  }

  /// Lets the command of `exec POD ls -l` and `run IMAGE sleep 5` stand without a `--` before it.
  private static func terminated(_ arguments: [String]) -> [String] {
    guard let command = arguments.first, ["exec", "run"].contains(command) else { return arguments }
    var position = 1
    while position < arguments.count, arguments[position].hasPrefix("-"), arguments[position] != "--" {
      let isAlone = flags.contains(arguments[position]) || arguments[position].contains("=")
      position += isAlone ? 1 : 2
    }
    let next = position + 1
    guard next < arguments.count, arguments[position] != "--", !arguments[next].hasPrefix("-") else { return arguments }
    return arguments[..<next] + ["--"] + arguments[next...]
  }
}
