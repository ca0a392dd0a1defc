import CLinux
import CShimMessages

typealias DeviceRequest = UnsafePointer<Swiftlet__Shim__V1__Device>

/// Whether nodes already belong to the node's user 0 when they are made. With a user namespace they would belong to the
/// container's, which could then open what only the node's may.
enum DeviceOwners {
  case asMade
  case always
}

/// Fills a new tmpfs for /dev while it is attached nowhere: nothing of an image or a volume takes part.
func populateDevices(
  _ tmpfs: Int32, _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, _ owners: DeviceOwners
) throws(StepFailure) {
  // mknod and symlink act through the mount, which must not be read-only then; no caller asks for that.
  let root = ContainerRoot(descriptor: tmpfs)
  for index in 0..<request.pointee.n_devices {
    guard let device = request.pointee.devices[index].map({ DeviceRequest($0) }) else { continue }
    if let name = nameInDev(device) { try makeDevice(device, name, in: root, owners) }
  }
  try link("/proc/self/fd", tmpfs, "fd")
  try link("/proc/self/fd/0", tmpfs, "stdin")
  try link("/proc/self/fd/1", tmpfs, "stdout")
  try link("/proc/self/fd/2", tmpfs, "stderr")
  try link("pts/ptmx", tmpfs, "ptmx")
  if access("/proc/kcore", F_OK) == 0 { try link("/proc/kcore", tmpfs, "core") }
  if request.pointee.process.pointee.tty != 0 { try makeConsole(tmpfs) }
  // Mount points of nearly every container.
  for name in ["pts", "shm", "mqueue"] as [StaticString] {
    let path = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    let made = clinux_mkdirat(tmpfs, path, 0o755)
    // A device below it was asked for.
    if made != -EEXIST { try require(made, "populate /dev", on: path) }
  }
}

/// A place for the container's terminal.
private func makeConsole(_ tmpfs: Int32) throws(StepFailure) {
  let made = clinux_open_at(tmpfs, "console", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  // A device of that name was asked for; it is covered.
  if made == -EEXIST { return }
  try require(made, "populate /dev", "console")
  _ = close(made)
}

/// Devices elsewhere than in a /dev of our own. A volume on /dev has what its owner put there: nothing is made in it.
func makeOtherDevices(
  _ root: ContainerRoot, _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, _ owners: DeviceOwners,
  devIsMounted: Bool
) throws(StepFailure) {
  for index in 0..<request.pointee.n_devices {
    guard let device = request.pointee.devices[index].map({ DeviceRequest($0) }) else { continue }
    if devIsMounted, nameInDev(device) != nil { continue }
    guard let path = device.pointee.path else { continue }
    try makeDevice(device, UnsafePointer(path), in: root, owners)
  }
}

/// "/null" for "/dev/null".
private func nameInDev(_ device: DeviceRequest) -> UnsafePointer<CChar>? {
  guard let path = device.pointee.path, strncmp(path, "/dev/", 5) == 0 else { return nil }
  return UnsafePointer(path) + 4
}

/// Makes one node; nothing that is there already is replaced or trusted unless it is that device.
private func makeDevice(
  _ device: DeviceRequest, _ path: UnsafePointer<CChar>, in root: ContainerRoot, _ owners: DeviceOwners
)
  throws(StepFailure)
{
  let subject = device.pointee.path
  let slash = strrchr(path, 0x2f).map { UnsafePointer<CChar>($0) } ?? path
  let name = slash + 1
  guard path.pointee == 0x2f, name.pointee != 0, !isSame(name, "."), !isSame(name, "..") else {
    throw StepFailure("make device", -EINVAL, subject)
  }
  var directory = root.descriptor
  if slash != path {
    let parent = terminated(UnsafeRawPointer(path).assumingMemoryBound(to: UInt8.self), slash - path)
    directory = try root.place(parent, .directory, "make device")
    parent.deallocate()
  }
  defer { if directory != root.descriptor { _ = close(directory) } }
  let isBlock = isSame(device.pointee.type, "b")
  guard isBlock || isSame(device.pointee.type, "c") else { throw StepFailure("make device", -EINVAL, subject) }
  let type = isBlock ? UInt32(S_IFBLK) : UInt32(S_IFCHR)
  let made = clinux_mknodat(
    directory, name, type | (device.pointee.mode & 0o777), device.pointee.major, device.pointee.minor)
  if made == -EEXIST {
    try requireSame(device, type, directory, name)
  } else {
    try require(made, "make device", on: subject)
    if owners == .always || device.pointee.uid != 0 || device.pointee.gid != 0 {
      try require(
        clinux_fchownat(directory, name, device.pointee.uid, device.pointee.gid), "own device", on: subject)
    }
  }
}

private func requireSame(
  _ device: DeviceRequest, _ type: UInt32, _ directory: Int32, _ name: UnsafePointer<CChar>
)
  throws(StepFailure)
{
  let subject = device.pointee.path
  let file = try require(
    clinux_open_at(directory, name, O_PATH | O_NOFOLLOW, 0), "make device", on: subject)
  defer { _ = close(file) }
  var mode: UInt32 = 0
  var number: UInt64 = 0
  try require(clinux_file_kind(file, &mode, &number), "make device", on: subject)
  guard mode & UInt32(S_IFMT) == type,
    number == clinux_device_number(device.pointee.major, device.pointee.minor)
  else { throw StepFailure("make device", -EEXIST, subject) }
}

private func link(_ target: String, _ directory: Int32, _ name: String) throws(StepFailure) {
  let made = clinux_symlinkat(target, directory, name)
  // A device of that name was asked for.
  if made != -EEXIST { try require(made, "populate /dev", name) }
}
