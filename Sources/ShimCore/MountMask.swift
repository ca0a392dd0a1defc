import CLinux
import CShimMessages

/// Hides files behind the node's null device and directories behind an empty, read-only tmpfs.
struct Mask {
  /// A detached copy of the node's /dev/null, checked; used up by the first file.
  private var null: Int32
  private var nullIsAttached = false
  private var empty: Int32 = -1

  /// Opens the null device on the node; called before anything of the container's root is touched.
  init() throws(StepFailure) {
    null = try require(clinux_clone_tree(AT_FDCWD, "/dev/null", 0), "open null device", "/dev/null")
    guard isNullDevice(null) else { throw StepFailure(step: "open null device", errno: ENODEV, subject: "/dev/null") }
    // Read-only: the node's inode must not be chmod'ed from inside; a device can be written to all the same.
    try require(
      clinux_mount_setattr(
        null, 0, clinux_mount_readonly | clinux_mount_nosuid | clinux_mount_noexec, clinux_propagation_private),
      "open null device", "/dev/null")
  }

  /// Hides a path of the root; one that is not there needs no hiding.
  mutating func hide(_ path: UnsafePointer<CChar>?, in root: ContainerRoot) throws(StepFailure) {
    let target = root.find(path)
    if target == -ENOENT || target == -ENOTDIR { return }
    try require(target, "mask path", on: path)
    defer { _ = close(target) }
    var mode: UInt32 = 0
    var device: UInt64 = 0
    try require(clinux_file_kind(target, &mode, &device), "mask path", on: path)
    let cover = mode & UInt32(S_IFMT) == UInt32(S_IFDIR) ? try emptyDirectory() : try nullFile()
    try require(clinux_attach_mount(cover, target), "mask path", on: path)
  }

  /// The first goes where it is needed; the following are copies of it, which is allowed once it is attached.
  private mutating func nullFile() throws(StepFailure) -> Int32 {
    if nullIsAttached { return try require(clinux_clone_tree(null, "", 0), "mask path", "/dev/null") }
    nullIsAttached = true
    return null
  }

  private mutating func emptyDirectory() throws(StepFailure) -> Int32 {
    if empty >= 0 { return try require(clinux_clone_tree(empty, "", 0), "mask path", "tmpfs") }
    empty = try makeTmpfs(
      size: "4096", mode: "555",
      attributes: clinux_mount_readonly | clinux_mount_nosuid | clinux_mount_nodev | clinux_mount_noexec, "mask path")
    return empty
  }
}

/// Covers a path of the root with a read-only copy of itself and of all that is mounted below; other flags stay.
func makeReadonly(_ path: UnsafePointer<CChar>?, in root: ContainerRoot) throws(StepFailure) {
  let target = root.find(path)
  if target == -ENOENT || target == -ENOTDIR { return }
  try require(target, "read-only path", on: path)
  defer { _ = close(target) }
  let copy = try require(clinux_clone_tree(target, "", 1), "read-only path", on: path)
  defer { _ = close(copy) }
  try require(clinux_mount_setattr(copy, 1, clinux_mount_readonly, 0), "read-only path", on: path)
  try require(clinux_attach_mount(copy, target), "read-only path", on: path)
}
