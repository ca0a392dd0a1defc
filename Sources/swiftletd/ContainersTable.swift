import CRIServer
import RuntimeModel

extension ConfigurationTable {
  /// `[containers]`: what every container gets that CRI has no field for.
  func readContainers(into configuration: inout DaemonConfiguration) throws(RuntimeError) {
    try allow(["pids_limit", "ignore_image_volumes"])
    configuration.ignoresImageVolumes = try boolean("ignore_image_volumes") ?? false
    guard let limit = try integer("pids_limit") else { return }
    guard limit == -1 || (1...4_194_304).contains(limit) else {
      throw failure("pids_limit", "\(limit) is neither -1, for no limit, nor from 1 to 4194304")
    }
    configuration.pidsLimit = Int64(limit)
  }
}
