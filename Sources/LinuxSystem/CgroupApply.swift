internal import Glibc
internal import RuntimeModel
internal import SystemPackage

/// A limit that the kernel did not take.
package struct LimitError: Error, Sendable, CustomStringConvertible {
  /// CRI's name of the field.
  package var field: String
  /// Which file refused which value.
  package var cause: SystemCallError
  /// What had been changed before and could not be put back.
  package var left: [SystemCallError] = []

  package var description: String {
    let left = left.isEmpty ? "" : "; not put back: \(left.map(\.description).joined(separator: ", "))"
    return "\(field): \(cause)\(left)"
  }
}

extension Cgroup {
  /// Writes the limits of a group that nobody is in yet; on failure the caller removes it. A limit whose controller the
  /// node lacks is an error: it would not hold (ATTACKS.md V12).
  ///
  /// - Returns: what was left out because it limits nothing here, in words.
  /// - Throws: which field's file refused which value.
  @discardableResult
  package func apply(_ limits: Limits) throws(LimitError) -> [String] {
    var journal: LimitJournal? = nil
    try run(limits, &journal)
    return leftOut(of: limits)
  }

  /// Changes the limits of a group in use: all of them or none.
  ///
  /// - Parameter then: what else belongs to the change; when it fails the limits are put back, too.
  /// - Returns: what was left out because it limits nothing here, in words.
  /// - Throws: ``LimitError``, with the old values in force again but for what its `left` names; what `then` throws.
  package func change(_ limits: Limits, then: () throws -> Void) throws -> [String] {
    var journal: LimitJournal? = LimitJournal()
    do {
      try run(limits, &journal)
      try then()
    } catch {
      let left = journal?.restore() ?? []
      guard var failure = error as? LimitError else { throw error }
      failure.left = left
      throw failure
    }
    return leftOut(of: limits)
  }

  private func leftOut(of limits: Limits) -> [String] {
    if hierarchy.kind == .unified || limits.unified.isEmpty { return [] }
    let keys = limits.unified.keys.sorted().joined(separator: ", ")
    return ["resources.unified is ignored: the node has cgroup v1 (\(keys))"]
  }

  private func run(_ limits: Limits, _ journal: inout LimitJournal?) throws(LimitError) {
    do {
      try limits.check()
    } catch {
      throw LimitError(
        field: "resources",
        cause: SystemCallError(call: "apply limits", errno: .invalidArgument, subject: error.message))
    }
    let steps = try steps(limits) {
      let now = try? readSmallFile("\(unifiedDirectory ?? "")/cpu.max", limit: 256)
      return String(decoding: now ?? [], as: UTF8.self)
    }
    for step in steps {
      switch step {
      case .write(let one): try put(one, &journal)
      case .cpuset(let one): try putCpuset(one, &journal)
      case .either(let first, let second):
        do {
          try put(first, &journal)
          try put(second, &journal)
        } catch {
          guard error.field == first.field, error.cause.errno == .invalidArgument else { throw error }
          try put(second, &journal)
          try put(first, &journal)
        }
      }
    }
  }

  private func put(_ one: LimitWrite, _ journal: inout LimitJournal?) throws(LimitError) {
    journal?.note(one.path, children: [])
    do {
      try writeKernelFile(one.path, one.value)
    } catch {
      journal?.forgetLast()
      if one.mayBeMissing, error.errno == .noSuchFileOrDirectory { return }
      throw LimitError(field: one.field, cause: error)
    }
  }

  private func putCpuset(_ one: LimitWrite, _ journal: inout LimitJournal?) throws(LimitError) {
    let children = journal == nil ? [] : Self.children(of: Self.parent(of: one.path))
    journal?.note(one.path, children: children)
    do {
      try LimitJournal.writeCpuset(one.path, one.value, children: children)
    } catch {
      // With groups below, a part may be done: what was noted is put back then, too.
      if children.isEmpty { journal?.forgetLast() }
      throw LimitError(field: one.field, cause: error)
    }
  }

  private static func parent(of path: String) -> String {
    String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
  }
}

/// What was in the files that a change has written, in order.
struct LimitJournal {
  private struct Entry {
    var path: String
    /// nil: the file cannot be read, so nothing is known.
    var old: String?
    /// Groups below a v1 cpuset.
    var children: [String]
  }

  private var entries: [Entry] = []

  mutating func note(_ path: String, children: [String]) {
    let old = try? readSmallFile(path, limit: 65_536)
    entries.append(
      Entry(path: path, old: old.map { String(decoding: $0, as: UTF8.self) }, children: children))
  }

  mutating func forgetLast() { _ = entries.popLast() }

  /// Puts the old values back, the last first.
  /// - Returns: what the kernel refused.
  func restore() -> [SystemCallError] {
    var failures: [SystemCallError] = []
    for entry in entries.reversed() {
      guard let old = entry.old else { continue }
      do {
        if entry.children.isEmpty {
          // A file with several lines (io.max) takes one at a time; an empty line clears a v2 cpuset.
          let lines = old.split(separator: "\n").map(String.init)
          for line in lines.isEmpty ? ["\n"] : lines { try writeKernelFile(entry.path, line) }
        } else {
          let value = String(old.prefix { $0 > " " })
          try Self.writeCpuset(entry.path, value, children: entry.children)
        }
      } catch {
        failures.append(error)
      }
    }
    return failures
  }

  /// A v1 cpuset (cpuset(7)): a group below may never have what this one has not. With groups below, this one gets old
  /// and new together, then they get the new, then this one loses the old.
  static func writeCpuset(_ path: String, _ value: String, children: [String]) throws(SystemCallError) {
    guard !children.isEmpty else { return try writeKernelFile(path, value) }
    let file = path.split(separator: "/").last.map(String.init) ?? ""
    let old = String(decoding: try readSmallFile(path, limit: 65_536).prefix { $0 > 0x20 }, as: UTF8.self)
    try writeKernelFile(path, old.isEmpty ? value : "\(old),\(value)")
    for child in children {
      do {
        try writeKernelFile("\(child)/\(file)", value)
      } catch {
        // An exec that has ended meanwhile.
        guard error.errno == .noSuchFileOrDirectory || error.errno == Errno(rawValue: ENODEV) else { throw error }
      }
    }
    try writeKernelFile(path, value)
  }
}
