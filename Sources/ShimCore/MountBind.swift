import CLinux
import CShimMessages

/// Detached copies of what a container's bind mounts show, made before the container's root exists. Index i belongs to
/// mount i; -1 where it is no bind.
///
/// They are made before this namespace's mounts become private, so that a copy still belongs to the node's peer group
/// and can follow it (slave) or share with it.
func cloneSources(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, shm: Int32, users: PodUsers?
) throws(StepFailure) -> [Int32] {
  var sources: [Int32] = []
  for index in 0..<request.pointee.n_mounts {
    guard let mount = request.pointee.mounts[index].map({ MountRequest($0) }) else { continue }
    if mount.isType("bind") {
      let source = try cloneSource(mount)
      if mount.pointee.id_mapped != 0 { try mapIDs(of: source, mount, users) }
      sources.append(source)
    } else if mount.isType("shm") {
      sources.append(try cloneShm(shm))
    } else {
      sources.append(-1)
    }
  }
  return sources
}

/// Only of the mount itself, as the peers do: what is mounted below may be of another file system.
private func mapIDs(of source: Int32, _ mount: MountRequest, _ users: PodUsers?) throws(StepFailure) {
  let mapped = users.map { clinux_map_ids(source, $0.descriptor) } ?? -EINVAL
  try require(mapped, "map ids of mount \(text(mount.pointee.destination))", on: mount.pointee.source)
}

private func cloneSource(_ mount: MountRequest) throws(StepFailure) -> Int32 {
  guard let source = mount.pointee.source, source.pointee == 0x2f else {
    throw StepFailure("bind source", -EINVAL, mount.pointee.source)
  }
  let recursive = mount.pointee.recursive
  var copy = clinux_clone_tree(AT_FDCWD, source, recursive)
  if copy == -ENOENT, mount.pointee.create_source != 0 {
    try makeSource(source)
    copy = clinux_clone_tree(AT_FDCWD, source, recursive)
  }
  try require(copy, "bind source", on: source)
  if mount.pointee.propagation != SWIFTLET__SHIM__V1__PROPAGATION__PRIVATE {
    try requirePropagation(of: copy, source, mount.pointee.propagation)
  }
  let attributes = mount.attributes
  let deep = mount.pointee.recursive_readonly != 0
  if deep {
    let set = clinux_mount_setattr(copy, 1, clinux_mount_readonly, 0)
    try require(set, "make read-only: RROUnsupported", on: source)
  }
  let mode = propagation(mount.pointee.propagation)
  if recursive == 0 {
    try require(clinux_mount_setattr(copy, 0, attributes, mode), "bind attributes", on: source)
  } else {
    try require(clinux_mount_setattr(copy, 1, 0, mode), "bind propagation", on: source)
    if attributes != 0 { try require(clinux_mount_setattr(copy, 0, attributes, 0), "bind attributes", on: source) }
  }
  return copy
}

/// mkdir -p on the node, 0755, as the peers do for a missing hostPath.
private func makeSource(_ path: UnsafePointer<CChar>) throws(StepFailure) {
  let length = Int(strlen(path))
  let prefix = UnsafeMutablePointer<CChar>.allocate(capacity: length + 1)
  defer { prefix.deallocate() }
  memcpy(prefix, path, length + 1)
  var end = 1
  while end <= length {
    if path[end] == 0x2f || path[end] == 0 {
      prefix[end] = 0
      let made = clinux_mkdirat(AT_FDCWD, prefix, 0o755)
      if made != -EEXIST { try require(made, "create bind source", on: prefix) }
      prefix[end] = path[end]
    }
    end += 1
  }
}

/// Following or sharing needs a mount on the node that is itself shared (or, to follow, a slave); nothing would ever
/// arrive otherwise, and nobody would know.
private func requirePropagation(
  of copy: Int32, _ source: UnsafePointer<CChar>, _ wanted: Swiftlet__Shim__V1__Propagation
) throws(StepFailure) {
  var identifier: UInt64 = 0
  try require(clinux_mount_identifier(AT_FDCWD, source, &identifier), "bind propagation", on: source)
  guard let table = readSmallFile("/proc/thread-self/mountinfo", limit: 16 << 20) else {
    throw StepFailure("bind propagation", -EIO, source)
  }
  for line in table.split(separator: 10) {
    guard decimals(line.prefix(20)).first == identifier else { continue }
    // The optional fields, which say so, end with a field "-" before the type: no field before them holds a colon
    // after "shared" or "master" preceded by a blank, as blanks in paths are escaped.
    if contains(line, " shared:") { return }
    if wanted == SWIFTLET__SHIM__V1__PROPAGATION__SLAVE, contains(line, " master:") { return }
  }
  throw StepFailure("bind propagation: source is not a shared mount", -EINVAL, source)
}

private func contains(_ line: ArraySlice<UInt8>, _ word: StaticString) -> Bool {
  line.withUnsafeBytes { bytes in
    guard let start = bytes.baseAddress else { return false }
    return memmem(start, bytes.count, word.utf8Start, word.utf8CodeUnitCount) != nil
  }
}

/// The pod's /dev/shm, or the node's where the pod has no IPC namespace.
private func cloneShm(_ shm: Int32) throws(StepFailure) -> Int32 {
  if shm >= 0 { return shm }
  let copy = try require(clinux_clone_tree(AT_FDCWD, "/dev/shm", 0), "bind source", "/dev/shm")
  try require(clinux_mount_setattr(copy, 0, 0, clinux_propagation_private), "bind propagation", "/dev/shm")
  return copy
}
