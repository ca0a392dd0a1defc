import CLinux
import CShimMessages

private let step = "mount root"

/// The container's overlay, attached nowhere yet. Layers one by one (`lowerdir+`, Linux 6.8), or by the numbers of their
/// descriptors where the kernel is older: a text of all their paths would have to fit into fsconfig's 255 bytes.
func makeRoot(_ rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>) throws(StepFailure) -> Int32 {
  let failure: StepFailure
  do throws(StepFailure) {
    return try makeOverlay(rootfs) { context throws(StepFailure) in
      guard clinux_overlay_checks_options(context) else { throw StepFailure(step, -EOPNOTSUPP, "lowerdir+") }
      for index in 0..<rootfs.pointee.n_lower {
        let lower = rootfs.pointee.lower[index]
        try require(clinux_fsconfig_string(context, "lowerdir+", lower), step, on: lower)
      }
      // Nobody asks for the file system's UUID; recording one would write to the layer. Older kernels record none.
      try require(clinux_fsconfig_string(context, "uuid", "null"), step, "uuid")
    }
  } catch {
    failure = error
  }
  if failure.errno == EOPNOTSUPP { return try makeRootOfDescriptors(rootfs) }
  // Linux 6.5 to 6.7 say so of an option that they do not know; but it may be something else.
  guard failure.errno == EINVAL, let old = try? makeRootOfDescriptors(rootfs) else { throw failure }
  return old
}

/// Lays the directory of all layers over itself, with the ids of a user namespace, for the overlay to find them there:
/// an overlay takes only mounts that are attached before Linux 6.15. One mount for any number of layers. Only in this
/// process's mount namespace, and under the root that is left behind.
func mapLayers(_ directory: UnsafePointer<CChar>?, _ users: PodUsers) throws(StepFailure) {
  guard let directory, directory.pointee == 0x2f else { throw StepFailure("map ids of layers", -EINVAL, directory) }
  let copy = try require(clinux_clone_tree(AT_FDCWD, directory, 0), "map ids of layers", on: directory)
  defer { _ = close(copy) }
  try require(clinux_map_ids(copy, users.descriptor), "map ids of layers", on: directory)
  try require(clinux_attach_mount_at(copy, directory), "map ids of layers", on: directory)
}

/// Moves the child into /proc/self/fd, from where it goes on into its new root.
private func makeRootOfDescriptors(
  _ rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>
) throws(StepFailure) -> Int32 {
  var layers: [Int32] = []
  defer { for layer in layers { _ = close(layer) } }
  for index in 0..<rootfs.pointee.n_lower {
    let lower = rootfs.pointee.lower[index]
    layers.append(try require(clinux_open(lower, O_PATH | O_DIRECTORY | O_CLOEXEC, 0), step, on: lower))
  }
  let table = try require(clinux_open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), step, "/proc/self/fd")
  defer { _ = close(table) }
  try require(clinux_fchdir(table), step, "/proc/self/fd")
  return try makeOverlay(rootfs) { context throws(StepFailure) in
    try require(clinux_overlay_lower(context, layers, layers.count), step, "lowerdir of \(layers.count) layers")
  }
}

private func makeOverlay(
  _ rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>, _ addLayers: (Int32) throws(StepFailure) -> Void
) throws(StepFailure) -> Int32 {
  let context = try require(clinux_fsopen("overlay"), step, "overlay")
  defer { _ = close(context) }
  try addLayers(context)
  let upper = rootfs.pointee.upper
  if isSet(upper) {
    let work = rootfs.pointee.work
    try require(clinux_fsconfig_string(context, "upperdir", upper), step, on: upper)
    try require(clinux_fsconfig_string(context, "workdir", work), step, on: work)
    // The writable layer lives as long as this one mount. Syncing the whole disk when the container ends, before its
    // exit is told, would buy nothing: after a crash of the node no container is started on it again.
    try require(clinux_fsconfig_flag(context, "volatile"), step, "volatile")
  }
  // No attribute of an image's directory may rename it to another place of the layers.
  try require(clinux_fsconfig_string(context, "redirect_dir", "nofollow"), step, "redirect_dir")
  try require(clinux_fsconfig_create(context), step, on: upper)
  let attributes = rootfs.pointee.nodev != 0 ? clinux_mount_nodev : 0
  return try require(clinux_fsmount(context, attributes), step, on: upper)
}
