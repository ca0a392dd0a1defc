import CRIProtocol
import GRPCCore
import RuntimeModel
import ShimProtocol
import SwiftProtobuf

extension RuntimeService {
  /// From memory. NotFound for an unknown id; works after the image was removed.
  func containerStatus(
    request: Runtime_V1_ContainerStatusRequest, context: ServerContext
  ) async throws -> Runtime_V1_ContainerStatusResponse {
    let container = try daemon.presentContainer(request.containerID)
    var response = Runtime_V1_ContainerStatusResponse()
    response.status = try container.status()
    if request.verbose { response.info["info"] = try container.details() }
    return response
  }
}

extension Daemon {
  /// - Throws: `notFound`, also for a container that has just been removed.
  func presentContainer(_ text: String) throws(RuntimeError) -> Container {
    let container = try containers.get(text, field: "container_id")
    guard !container.isRemoved else {
      throw RuntimeError(.notFound, "container_id: no container \"\(text)\"")
    }
    return container
  }
}

extension Container {
  /// The mounts are exactly the requested ones, in their order; the resources are as asked, since kubelet computes back.
  fileprivate func status() throws -> Runtime_V1_ContainerStatus {
    let record = record
    let start = try Swiftlet_Shim_V1_StartRequest(serializedBytes: record.startRequest)
    var status = Runtime_V1_ContainerStatus()
    status.id = id.value
    status.metadata = config.metadata
    status.state = record.criState
    status.createdAt = record.createdAt
    status.startedAt = record.startedAt
    status.finishedAt = record.finishedAt
    status.exitCode = record.exitCode
    status.image = config.image
    status.image.image = record.imageName
    status.imageRef = record.imageReference
    status.imageID = record.imageID
    status.reason = record.reason
    status.message = record.message
    status.labels = config.labels
    status.annotations = config.annotations
    status.mounts = config.mounts
    for (index, image) in record.mountedImages ?? [:] where status.mounts.indices.contains(index) {
      status.mounts[index].image.imageRef = image
    }
    status.logPath = record.logPath
    status.resources.linux = resources
    status.user.linux.uid = Int64(start.process.user.uid)
    status.user.linux.gid = Int64(start.process.user.gid)
    status.user.linux.supplementalGroups = start.process.user.groups.map(Int64.init)
    status.stopSignal = StopSignal.criSignal(kernel: record.stopSignal)
    return status
  }

  /// What `crictl inspect` shows beside the status; the environment is left out: it may hold secrets.
  fileprivate func details() throws -> String {
    struct Details: Encodable {
      var pid: Int32
      var sandboxID: String
      var argv: [String]
      var cwd: String
      /// Of its log, which could not be written.
      var logLostBytes: UInt64?
    }
    let record = record
    let start = try Swiftlet_Shim_V1_StartRequest(serializedBytes: record.startRequest)
    let details = Details(
      pid: record.process?.pid ?? 0, sandboxID: sandboxID.value,
      argv: start.process.argv.map { String(decoding: $0, as: UTF8.self) }, cwd: start.process.cwd,
      logLostBytes: record.logLostBytes)
    return try verboseText(details)
  }
}
