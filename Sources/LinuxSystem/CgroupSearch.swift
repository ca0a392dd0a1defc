internal import Glibc
internal import SystemPackage

extension CgroupHierarchy {
  /// The groups with one of these names, wherever they are and in whatever hierarchy: for names that nobody else gives.
  /// What is below a group that was found belongs to it and is not told.
  ///
  /// Blocks its thread, for as long as it takes to read the directories of all the node's groups.
  /// - Throws: when a directory cannot be read, so that what is not told is not there.
  package func groups(named names: Set<String>) throws(SystemCallError) -> [Cgroup] {
    var found: Set<String> = []
    for root in directories + (unifiedRoot.map { [$0] } ?? []) {
      var unread = [""]
      while let path = unread.popLast() {
        for name in try Self.groups(in: root + path) {
          if names.contains(name) {
            found.insert("\(path)/\(name)")
          } else {
            unread.append("\(path)/\(name)")
          }
        }
      }
    }
    return found.sorted().map { cgroup(at: $0) }
  }

  private static func groups(in directory: String) throws(SystemCallError) -> [String] {
    let entries: [DirectoryNames.Entry]
    do {
      entries = try DirectoryNames.read(
        OwnedFD.open(directory, flags: O_RDONLY | O_DIRECTORY), limit: .max, subject: directory)
    } catch {
      // Removed meanwhile.
      if error.errno == .noSuchFileOrDirectory { return [] }
      throw error
    }
    return entries.filter { $0.type == UInt8(DT_DIR) }.map { String(decoding: $0.name, as: UTF8.self) }
  }
}
