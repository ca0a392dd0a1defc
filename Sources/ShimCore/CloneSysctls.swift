import CLinux
import CShimMessages

// A sandbox's sysctls. Each key belongs to one namespace, and only a namespace of the pod's own is ever written.

typealias SysctlRequest = UnsafeMutablePointer<Swiftlet__Shim__V1__Sysctl>

/// Refuses what is not namespaced, what belongs to a namespace that the pod shares with the node, and any name or value
/// that is more than one name or value.
func requireAllowed(_ sysctl: SysctlRequest?, _ own: UInt64) throws(StepFailure) {
  guard let sysctl, let name = sysctl.pointee.name, let path = sysctlPath(name) else {
    throw StepFailure("sysctl name", -EINVAL, sysctl?.pointee.name)
  }
  defer { path.deallocate() }
  guard isOneLine(sysctl.pointee.value) else { throw StepFailure("sysctl value", -EINVAL, name) }
  if strncmp(path, "net/", 4) == 0 {
    guard own & clinux_clone_newnet != 0 else {
      throw StepFailure("sysctl of the node's network namespace", -EPERM, name)
    }
  } else if isOfIPC(path) {
    guard own & clinux_clone_newipc != 0 else {
      throw StepFailure("sysctl of the node's ipc namespace", -EPERM, name)
    }
  } else {
    throw StepFailure("sysctl is not namespaced", -EPERM, name)
  }
}

/// Writes one, in the child, which is in the pod's namespaces by now: what /proc/sys shows depends on who looks.
func write(_ sysctl: SysctlRequest?, _ node: Node) throws(StepFailure) {
  guard let sysctl, let name = sysctl.pointee.name, let value = sysctl.pointee.value, let path = sysctlPath(name) else {
    throw StepFailure("sysctl name", -EINVAL, sysctl?.pointee.name)
  }
  let tree = try require(clinux_open_at(node.proc, "sys", O_PATH | O_DIRECTORY, 0), "set sysctl", on: name)
  let file = try require(
    clinux_openat2(
      tree, path, UInt64(O_WRONLY), 0, UInt64(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)),
    "set sysctl", on: name)
  try require(clinux_write(file, value, strlen(value)), "set sysctl", on: name)
  _ = close(file)
  _ = close(tree)
}

/// The path below /proc/sys: dots or slashes separate, not both; letters, digits, '_' and '-' make a component.
private func sysctlPath(_ name: UnsafePointer<CChar>) -> UnsafeMutablePointer<CChar>? {
  let length = Int(strlen(name))
  guard length > 0, length < 256 else { return nil }
  let path = terminated(UnsafeRawPointer(name).assumingMemoryBound(to: UInt8.self), length)
  var separator: CChar = 0
  var lastWasSeparator = true
  for index in 0..<length {
    let character = path[index]
    if character == 0x2e || character == 0x2f {
      if lastWasSeparator || (separator != 0 && separator != character) {
        path.deallocate()
        return nil
      }
      separator = character
      path[index] = 0x2f
      lastWasSeparator = true
    } else if isNameCharacter(character) {
      lastWasSeparator = false
    } else {
      path.deallocate()
      return nil
    }
  }
  if lastWasSeparator {
    path.deallocate()
    return nil
  }
  return path
}

private func isNameCharacter(_ character: CChar) -> Bool {
  (character >= 0x30 && character <= 0x39) || (character >= 0x41 && character <= 0x5a)
    || (character >= 0x61 && character <= 0x7a) || character == 0x5f || character == 0x2d
}

private func isOneLine(_ value: UnsafePointer<CChar>?) -> Bool {
  guard let value, value.pointee != 0 else { return false }
  var next = value
  while next.pointee != 0 {
    // Tabs and blanks separate the numbers of one value.
    if next.pointee > 0, next.pointee < 0x20, next.pointee != 0x09 { return false }
    next += 1
  }
  return true
}

/// ipc_namespaces(7).
private func isOfIPC(_ path: UnsafePointer<CChar>) -> Bool {
  if strncmp(path, "fs/mqueue/", 10) == 0 { return true }
  let names: [StaticString] = [
    "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
    "kernel/shm_rmid_forced",
  ]
  for name in names where isSame(path, name) { return true }
  return false
}
