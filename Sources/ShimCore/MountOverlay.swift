import CLinux
import CShimMessages

/// The container's overlay, attached nowhere yet. Layers one by one (`lowerdir+`, Linux 6.8): one text of all of them
/// would have to fit into fsconfig's 255 bytes.
func makeRoot(_ rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>) throws(StepFailure) -> Int32 {
  let step = "mount root"
  let context = try require(clinux_fsopen("overlay"), step, "overlay")
  defer { _ = close(context) }
  for index in 0..<rootfs.pointee.n_lower {
    let lower = rootfs.pointee.lower[index]
    try require(clinux_fsconfig_string(context, "lowerdir+", lower), step, on: lower)
  }
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
  // Nobody asks for the file system's UUID; recording one would write to the layer.
  try require(clinux_fsconfig_string(context, "uuid", "null"), step, "uuid")
  try require(clinux_fsconfig_create(context), step, on: upper)
  return try require(clinux_fsmount(context, 0), step, on: upper)
}
