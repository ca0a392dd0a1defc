import ArgumentParser
import CRIProtocol
import SwiftProtobuf

struct Inspect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints all that the runtime says about a pod, container or image, as YAML or JSON.")

  @Argument(help: "A pod, a container or an image.")
  var target: String

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let value = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let target: Target
      do throws(ClientError) {
        target = try inventory.find(self.target)
      } catch {
        let missing = error
        guard missing.status == .notFound else { throw missing }
        guard let image = try await Self.image(self.target, connection) else { throw missing }
        return image
      }
      switch target {
      case .pod(let sandbox): return try await Self.pod(sandbox, inventory, connection)
      case .container(let container): return try await Self.container(container.id, connection)
      }
    }
    try output.print(value, table: nil)
  }

  private static func pod(
    _ sandbox: Runtime_V1_PodSandbox, _ inventory: Inventory, _ connection: RuntimeConnection
  ) async throws -> Value {
    let response = try await connection.call("inspect pod \(sandbox.qualifiedName)", deadline: .seconds(30)) {
      connection, options in
      let request = Runtime_V1_PodSandboxStatusRequest.with {
        $0.podSandboxID = sandbox.id
        $0.verbose = true
      }
      return try await connection.runtime.podSandboxStatus(request, options: options)
    }
    let status = try Value(message: response.status)
      .setting("state", .string(Shown.state(response.status.state).text))
      .setting("createdAt", Shown.time(response.status.createdAt))
    let containers = try await StatusQueries.containers(inventory.containers(of: sandbox).map(\.id), connection)
    let values = try containers.values.sorted { $0.createdAt < $1.createdAt }.map(Self.value)
    return .record(["status": status, "containers": .list(values), "info": Value(verboseInfo: response.info)])
  }

  private static func container(_ id: String, _ connection: RuntimeConnection) async throws -> Value {
    let response = try await connection.call("inspect container \(Humane.shortID(id))", deadline: .seconds(30)) {
      connection, options in
      let request = Runtime_V1_ContainerStatusRequest.with {
        $0.containerID = id
        $0.verbose = true
      }
      return try await connection.runtime.containerStatus(request, options: options)
    }
    return .record(["status": try value(response.status), "info": Value(verboseInfo: response.info)])
  }

  /// The JSON mapping leaves out what is zero; a state and an exit status are said all the same.
  private static func value(_ status: Runtime_V1_ContainerStatus) throws -> Value {
    var value = try Value(message: status)
      .setting("state", .string(Shown.state(status.state).text))
      .setting("createdAt", Shown.time(status.createdAt)).setting("startedAt", Shown.time(status.startedAt))
      .setting("finishedAt", Shown.time(status.finishedAt))
    if status.state == .containerExited { value = value.setting("exitCode", .int(Int64(status.exitCode))) }
    return value
  }

  private static func image(_ name: String, _ connection: RuntimeConnection) async throws -> Value? {
    let response: Runtime_V1_ImageStatusResponse
    do {
      response = try await connection.call("inspect image \(name)", deadline: .seconds(30)) { connection, options in
        let request = Runtime_V1_ImageStatusRequest.with {
          $0.image.image = name
          $0.verbose = true
        }
        return try await connection.images.imageStatus(request, options: options)
      }
    } catch let error as ClientError where error.status == .failed || error.status == .notFound {
      // The word may be no image reference at all: then it names nothing, which is what is reported.
      return nil
    }
    guard response.hasImage, !response.image.id.isEmpty else { return nil }
    return .record(["status": try Value(message: response.image), "info": Value(verboseInfo: response.info)])
  }
}
