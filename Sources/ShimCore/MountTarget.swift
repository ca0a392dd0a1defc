import CLinux
import CShimMessages

// Where in a container's root something is mounted, and where nothing is.

func placeForBind(_ mount: MountRequest, _ tree: Int32, _ root: ContainerRoot) throws(StepFailure) -> Int32 {
  var mode: UInt32 = 0
  var device: UInt64 = 0
  try require(clinux_file_kind(tree, &mode, &device), "bind source", on: mount.pointee.source)
  let isDirectory = mode & UInt32(S_IFMT) == UInt32(S_IFDIR)
  if isSame(mount.pointee.destination, "/proc") || isSame(mount.pointee.destination, "/") {
    throw StepFailure(mount.stepName, -EINVAL, mount.pointee.destination)
  }
  // A file of the kernel's own, reached through no link; refuseInsideProc lets it pass.
  if isReplaceable(mount.pointee.destination) {
    return try root.place(mount.pointee.destination, .plainFile, mount.stepName)
  }
  let strict =
    mount.isType("shm") || isSame(mount.pointee.destination, "/dev") || isSame(mount.pointee.destination, "/sys")
  return try root.place(
    mount.pointee.destination, isDirectory ? (strict ? .plainDirectory : .directory) : .file, mount.stepName)
}

/// /proc, /sys, /dev and what is below them.
func isReserved(_ path: UnsafePointer<CChar>?) -> Bool {
  guard let path else { return false }
  for name in ["/proc", "/sys", "/dev"] as [StaticString] {
    let length = name.utf8CodeUnitCount
    let start = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    if strncmp(path, start, length) == 0, path[length] == 0 || path[length] == 0x2f { return true }
  }
  return false
}

/// Files of procfs that show the machine, which a container may be shown others for, as lxcfs does; runc's list.
private func isReplaceable(_ path: UnsafePointer<CChar>?) -> Bool {
  for name in [
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
    "/proc/loadavg", "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
  ] as [StaticString] where isSame(path, name) { return true }
  return false
}

/// However the destination is spelled and whatever links lead there: nothing else is mounted over a procfs's files.
func refuseInsideProc(_ target: Int32, _ mount: MountRequest) throws(StepFailure) {
  var magic: Int64 = 0
  var flags: UInt64 = 0
  try require(clinux_file_system(target, &magic, &flags), mount.stepName, on: mount.pointee.destination)
  if magic == clinux_proc_magic, !isReplaceable(mount.pointee.destination) {
    throw StepFailure(mount.stepName + " inside procfs", -EPERM, mount.pointee.destination)
  }
}
