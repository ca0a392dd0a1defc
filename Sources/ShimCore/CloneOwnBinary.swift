import CLinux

/// Sees to it that this process runs from a mount through which its binary cannot be written, by starting it again from
/// such a mount when it does not.
///
/// Every container begins as a clone of this process, and `#!/proc/self/exe` in an image makes the kernel run this very
/// file once more inside the container. So a container can hold /proc/PID/exe open, wait until no shim runs any more,
/// and write to the node's file (CVE-2019-5736). Through a detached read-only copy of the mount it is EROFS for ever.
/// It costs no memory, unlike a sealed memfd: the pages are the same file's. A daemon that starts the shim from such a
/// copy saves the second exec.
func runFromReadonlyMount(_ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) throws(StepFailure) {
  let path = "/proc/self/exe"
  let file = try require(clinux_open(path, O_PATH | O_CLOEXEC, 0), "open own binary", path)
  defer { _ = close(file) }
  var magic: Int64 = 0
  var flags: UInt64 = 0
  try require(clinux_file_system(file, &magic, &flags), "open own binary", path)
  if flags & clinux_mount_readonly != 0 {
    // Older kernels name a process that was started by descriptor after its number.
    let name: StaticString = "swiftlet-shim"
    _ = clinux_prctl(PR_SET_NAME, UInt(bitPattern: name.utf8Start), 0, 0, 0)
    return
  }
  let copy = try require(clinux_clone_tree(AT_FDCWD, path, 0), "copy own mount", path)
  defer { _ = close(copy) }
  try require(
    clinux_mount_setattr(
      copy, 0, clinux_mount_readonly | clinux_mount_nosuid | clinux_mount_nodev, clinux_propagation_private),
    "make own mount read-only", path)
  try require(clinux_execute(copy, arguments, clinux_environment()), "exec own binary", path)
}
