import CLinux
import CShimMessages

/// Furnishes a container's root, in this process's own mount namespace, and makes it the root.
/// - Parameter users: the pod's user namespace; this process is not in it.
/// - Returns: the working directory, opened inside it.
func furnish(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>,
  _ rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>,
  workingDirectory: UnsafePointer<CChar>?, shm: Int32, users: PodUsers?, _ node: Node
) throws(StepFailure) -> Int32 {
  var sources = try cloneSources(request, shm: shm, users: users)
  var mask = request.pointee.n_masked_paths > 0 ? try Mask() : nil
  // From here on nothing that is mounted here shows on the node.
  try require(clinux_propagate_all(clinux_propagation_private), "make mounts private")
  if let users { try mapLayers(request.pointee.layer_directory, users) }
  try makeImageVolumes(request, rootfs, &sources)
  let descriptor = try makeRoot(rootfs)
  let place = isSet(rootfs.pointee.mountpoint) ? UnsafePointer(rootfs.pointee.mountpoint) : nil
  try require(clinux_attach_mount_at(descriptor, place ?? rootPath()), "attach root", on: place)
  let root = ContainerRoot(descriptor: descriptor)
  if let users { try ownNewFiles(users, node) }
  let owners: DeviceOwners = users == nil ? .asMade : .always
  var devIsMounted = false
  for index in 0..<request.pointee.n_mounts {
    guard let mount = request.pointee.mounts[index].map({ MountRequest($0) }) else { continue }
    try attach(mount, sources[index], root, request, owners, &devIsMounted)
  }
  try makeOtherDevices(root, request, owners, devIsMounted: devIsMounted)
  for index in 0..<request.pointee.n_masked_paths {
    try mask?.hide(request.pointee.masked_paths[index], in: root)
  }
  for index in 0..<request.pointee.n_readonly_paths {
    try makeReadonly(request.pointee.readonly_paths[index], in: root)
  }
  let directory = try root.place(workingDirectory, .directory, "working directory")
  try finish(root, request, rootfs)
  return directory
}

/// What is made from here on belongs to the container's user 0. The capabilities go with the node's, and come back.
private func ownNewFiles(_ users: PodUsers, _ node: Node) throws(StepFailure) {
  clinux_own_new_files(users.uid, users.gid)
  try require(clinux_capset(node.capabilities, node.capabilities, 0), "set capabilities")
  try hide()
}

private func rootPath() -> UnsafePointer<CChar> {
  let path: StaticString = "/"
  return UnsafeRawPointer(path.utf8Start).assumingMemoryBound(to: CChar.self)
}

private func finish(
  _ root: ContainerRoot, _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>,
  _ rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>
) throws(StepFailure) {
  let readonly = rootfs.pointee.readonly != 0 ? clinux_mount_readonly : 0
  try pivot(to: root.descriptor)
  let mode = request.pointee.root_propagation
  let spread = mode == SWIFTLET__SHIM__V1__PROPAGATION__PRIVATE ? 0 : propagation(mode)
  if readonly != 0 || spread != 0 {
    try require(clinux_mount_setattr(root.descriptor, 0, readonly, spread), "root attributes", "/")
  }
}

private func attach(
  _ mount: MountRequest, _ source: Int32, _ root: ContainerRoot,
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, _ owners: DeviceOwners, _ devIsMounted: inout Bool
) throws(StepFailure) {
  let target: Int32
  let tree: Int32
  if mount.isType("bind") || mount.isType("shm") || mount.isType("image") {
    tree = source
    target = try placeForBind(mount, tree, root)
  } else {
    try requireKnown(mount, request)
    // The kernel's file systems go where their names are, through no link of the image's.
    target = try root.place(
      mount.pointee.destination, isReserved(mount.pointee.destination) ? .plainDirectory : .directory, mount.stepName)
    tree = try makeFileSystem(mount)
    if mount.isType("tmpfs"), mount.isDestination("/dev") {
      try populateDevices(tree, request, owners)
    }
  }
  defer {
    _ = close(target)
    _ = close(tree)
  }
  if mount.isDestination("/dev") { devIsMounted = true }
  if !mount.isType("proc") || !mount.isDestination("/proc") {
    try refuseInsideProc(target, mount)
  }
  try require(clinux_attach_mount(tree, target), mount.stepName, on: mount.pointee.destination)
}

/// The kernel's file systems that a container may have a new instance of.
private func requireKnown(
  _ mount: MountRequest, _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>
)
  throws(StepFailure)
{
  // Without a cgroup namespace, which comes with a v2 group, it would show the whole node's tree, and its options would
  // become those of every mount of that (cgroup2 has one superblock).
  if mount.isType("cgroup2"), isIsolated(request.pointee.cgroup) { return }
  if mount.isType("proc") || mount.isType("sysfs") || mount.isType("tmpfs") || mount.isType("devpts")
    || mount.isType("mqueue")
  {
    return
  }
  throw StepFailure(mount.stepName, -EINVAL, mount.pointee.destination)
}
