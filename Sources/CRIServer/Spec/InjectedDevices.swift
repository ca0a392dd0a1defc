import CDI
import CRIProtocol
import RuntimeModel
import ShimProtocol

/// The CDI devices that a request asks for, by its field and by annotation.
struct RequestedDevices: Sendable {
  /// The prefix of container annotations that name devices, separated by commas; device plugins wrote them before there
  /// was a field. Annotations of pods and images are never looked at (ATTACKS V7, D13).
  static let annotation = "cdi.k8s.io/"

  /// In order, the field's first; without duplicates.
  let names: [(field: String, name: DeviceName)]

  /// - Throws: `invalidArgument` naming the field.
  init(_ config: Runtime_V1_ContainerConfig) throws(RuntimeError) {
    var names: [(field: String, name: DeviceName)] = []
    var seen: Set<DeviceName> = []
    func add(_ text: String, _ field: String) throws(RuntimeError) {
      let name = try DeviceName(text, field: field)
      if seen.insert(name).inserted { names.append((field, name)) }
    }
    for (index, device) in config.cdiDevices.enumerated() { try add(device.name, "CDI_devices[\(index)].name") }
    for key in config.annotations.keys.sorted() where key.hasPrefix(Self.annotation) {
      for text in (config.annotations[key] ?? "").split(separator: ",", omittingEmptySubsequences: false) {
        try add(String(text), "annotations[\"\(key)\"]")
      }
    }
    self.names = names
  }
}

extension EditMount {
  /// Whether it shows something of the node.
  var isBind: Bool { ["", "none", "bind"].contains(type) }
}

extension Swiftlet_Shim_V1_Mount {
  /// A mount that a device brings.
  ///
  /// - Throws: `unimplemented` naming mount and option, or `invalidArgument` for the place.
  init(_ edit: EditMount) throws(RuntimeError) {
    let subject = "CDI mount at \(edit.containerPath)"
    self.init()
    destination = try MountDestination.check(edit.containerPath, field: subject)
    switch edit.type {
    case _ where edit.isBind:
      guard edit.hostPath.hasPrefix("/") else {
        throw RuntimeError(.failedPrecondition, "\(subject): its source \"\(edit.hostPath)\" is not absolute")
      }
      type = "bind"
      source = edit.hostPath
    case "tmpfs": type = "tmpfs"
    default: throw RuntimeError(.unimplemented, "\(subject): a mount of type \"\(edit.type)\" is not supported")
    }
    for option in edit.options where !apply(option) {
      throw RuntimeError(.unimplemented, "\(subject): the option \"\(option)\" is not supported")
    }
  }

  /// - Returns: whether the option is known.
  private mutating func apply(_ option: String) -> Bool {
    switch option {
    case "bind", "relatime": break
    case "rbind": recursive = type == "bind"
    case "ro": readonly = true
    case "rro":
      readonly = true
      recursiveReadonly = true
      recursive = true
    case "rw": readonly = false
    case "nosuid": nosuid = true
    case "nodev": nodev = true
    case "noexec": noexec = true
    case "suid": nosuid = false
    case "dev": nodev = false
    case "exec": noexec = false
    case "private", "rprivate": propagation = .private
    case "slave", "rslave": propagation = .slave
    case "shared", "rshared": propagation = .shared
    default:
      guard type == "tmpfs", ["size=", "mode=", "nr_inodes="].contains(where: option.hasPrefix) else { return false }
      data.append(option)
    }
    return true
  }
}
