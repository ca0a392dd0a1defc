import CRIServer
import RuntimeModel

extension ConfigurationTable {
  /// `[containers]`: what every container gets that CRI has no field for.
  func readContainers(into configuration: inout DaemonConfiguration) throws(RuntimeError) {
    try allow(["ignore_image_volumes", "max_container_log_line_size", "pids_limit"])
    configuration.ignoresImageVolumes = try boolean("ignore_image_volumes") ?? false
    if let limit = try integer("pids_limit") {
      guard limit == -1 || (1...4_194_304).contains(limit) else {
        throw failure("pids_limit", "\(limit) is neither -1, for no limit, nor from 1 to 4194304")
      }
      configuration.pidsLimit = Int64(limit)
    }
    if let size = try integer("max_container_log_line_size") {
      // The beginning of a line waits in the shim's memory for its end.
      guard (1...65_536).contains(size) else {
        throw failure("max_container_log_line_size", "\(size) is not from 1 to 65536: there is no \"unlimited\"")
      }
      configuration.logLineLimit = UInt32(size)
    }
  }
}
