import CRIProtocol
import FoundationEssentials
import GRPCCore
import RuntimeModel
import SwiftProtobuf

extension RuntimeService {
  /// Notes what kubelet has done to the pod: it writes the pod's cgroup itself, so nothing is written here. A verbose
  /// PodSandboxStatus shows it.
  func updatePodSandboxResources(
    request: Runtime_V1_UpdatePodSandboxResourcesRequest, context: ServerContext
  ) async throws -> Runtime_V1_UpdatePodSandboxResourcesResponse {
    let sandbox = try daemon.listedSandbox(request.podSandboxID)
    let overhead: Data? = request.hasOverhead ? try request.overhead.serializedBytes() : nil
    let resources: Data? = request.hasResources ? try request.resources.serializedBytes() : nil
    try await sandbox.lane.run {
      guard sandbox.isListed else { throw RuntimeError(.notFound, "\(sandbox.subject) has been removed") }
      try await daemon.save(sandbox) { record in
        record.overhead = overhead ?? record.overhead
        record.resources = resources ?? record.resources
      }
    }
    return Runtime_V1_UpdatePodSandboxResourcesResponse()
  }
}

/// Resources as a verbose status shows them; what is not given is left out.
struct ShownResources: Encodable {
  var cpuPeriod: Int64?
  var cpuQuota: Int64?
  var cpuShares: Int64?
  var memoryLimitInBytes: Int64?
  var memorySwapLimitInBytes: Int64?
  var oomScoreAdj: Int64?
  var cpusetCpus: String?
  var cpusetMems: String?
  var hugepageLimits: [String: UInt64]?
  var unified: [String: String]?

  init(_ resources: Runtime_V1_LinuxContainerResources) {
    func given(_ value: Int64) -> Int64? { value == 0 ? nil : value }
    cpuPeriod = given(resources.cpuPeriod)
    cpuQuota = given(resources.cpuQuota)
    cpuShares = given(resources.cpuShares)
    memoryLimitInBytes = given(resources.memoryLimitInBytes)
    memorySwapLimitInBytes = given(resources.memorySwapLimitInBytes)
    oomScoreAdj = given(resources.oomScoreAdj)
    cpusetCpus = resources.cpusetCpus.isEmpty ? nil : resources.cpusetCpus
    cpusetMems = resources.cpusetMems.isEmpty ? nil : resources.cpusetMems
    let pages = Dictionary(resources.hugepageLimits.map { ($0.pageSize, $0.limit) }, uniquingKeysWith: { $1 })
    hugepageLimits = pages.isEmpty ? nil : pages
    unified = resources.unified.isEmpty ? nil : resources.unified
  }
}

extension Sandbox {
  /// As created, or as the last UpdatePodSandboxResources said; nil where nobody said anything.
  var shownResources: (overhead: ShownResources?, resources: ShownResources?) {
    let record = record
    func shown(_ kept: Data?, _ created: Runtime_V1_LinuxContainerResources?) -> ShownResources? {
      let updated = kept.flatMap { try? Runtime_V1_LinuxContainerResources(serializedBytes: $0) }
      return (updated ?? created).map(ShownResources.init)
    }
    let linux = config.linux
    return (
      shown(record.overhead, linux.hasOverhead ? linux.overhead : nil),
      shown(record.resources, linux.hasResources ? linux.resources : nil)
    )
  }
}
