import CRIProtocol
import RuntimeModel
import ShimProtocol

/// Which namespaces a sandbox or container asked for, checked.
struct NamespaceChoice: Sendable, Hashable {
  var network: Runtime_V1_NamespaceMode
  var pid: Runtime_V1_NamespaceMode
  var ipc: Runtime_V1_NamespaceMode
  var targetID: String
  /// Of the pod's user namespace; nil: the node's.
  var users: UserMapping?

  /// The CRI's zero value is POD for all three, and so is a missing NamespaceOption.
  /// - Parameters:
  ///   - field: the path of the option in the request, for errors.
  ///   - isSandbox: TARGET makes no sense for a sandbox.
  /// - Throws: `invalidArgument`.
  init(_ options: Runtime_V1_NamespaceOption, field: String, isSandbox: Bool) throws(RuntimeError) {
    network = try Self.shared(options.network, name: "network", field: field)
    ipc = try Self.shared(options.ipc, name: "ipc", field: field)
    pid = options.pid
    targetID = pid == .target ? options.targetID : ""
    if case .UNRECOGNIZED(let value) = options.pid {
      throw RuntimeError(.invalidArgument, "\(field).pid: \(value) is not a namespace mode")
    }
    if options.pid == .target {
      guard !isSandbox else { throw RuntimeError(.invalidArgument, "\(field).pid: TARGET is for containers only") }
      guard !options.targetID.isEmpty else {
        throw RuntimeError(.invalidArgument, "\(field).target_id is empty though pid is TARGET")
      }
    }
    users = options.hasUsernsOptions ? try UserMapping(options.usernsOptions, field: "\(field).userns_options") : nil
  }

  var hasHostNetwork: Bool { network == .node }

  /// As the shim takes it.
  var message: Swiftlet_Shim_V1_Namespaces {
    var message = Swiftlet_Shim_V1_Namespaces()
    message.network = Self.mode(network)
    message.pid = Self.mode(pid)
    message.ipc = Self.mode(ipc)
    message.targetID = targetID
    return message
  }

  /// Network and IPC are the pod's or the node's; CONTAINER is not used by Kubernetes and treated as POD.
  private static func shared(
    _ mode: Runtime_V1_NamespaceMode, name: String, field: String
  ) throws(RuntimeError) -> Runtime_V1_NamespaceMode {
    switch mode {
    case .pod, .container: return .pod
    case .node: return .node
    case .target: throw RuntimeError(.invalidArgument, "\(field).\(name): TARGET is for pid only")
    case .UNRECOGNIZED(let value):
      throw RuntimeError(.invalidArgument, "\(field).\(name): \(value) is not a namespace mode")
    }
  }

  private static func mode(_ mode: Runtime_V1_NamespaceMode) -> Swiftlet_Shim_V1_NamespaceMode {
    Swiftlet_Shim_V1_NamespaceMode(rawValue: mode.rawValue) ?? .pod
  }
}
