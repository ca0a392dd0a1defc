import CLinux
import CShimMessages

typealias MountRequest = UnsafePointer<Swiftlet__Shim__V1__Mount>

extension UnsafePointer where Pointee == Swiftlet__Shim__V1__Mount {
  /// What mount_setattr and fsmount take.
  var attributes: UInt64 {
    var set: UInt64 = 0
    if pointee.readonly != 0 { set |= clinux_mount_readonly }
    if pointee.nosuid != 0 { set |= clinux_mount_nosuid }
    if pointee.nodev != 0 { set |= clinux_mount_nodev }
    if pointee.noexec != 0 { set |= clinux_mount_noexec }
    return set
  }

  func isType(_ name: StaticString) -> Bool { isSame(pointee.type, name) }
  func isDestination(_ path: StaticString) -> Bool { isSame(pointee.destination, path) }

  /// For a step's name.
  var stepName: String { "mount " + text(pointee.type) }
}

/// Byte by byte.
func isSame(_ string: UnsafePointer<CChar>?, _ other: StaticString) -> Bool {
  guard let string else { return false }
  return strcmp(string, UnsafeRawPointer(other.utf8Start).assumingMemoryBound(to: CChar.self)) == 0
}

func propagation(_ value: Swiftlet__Shim__V1__Propagation) -> UInt64 {
  if value == SWIFTLET__SHIM__V1__PROPAGATION__SLAVE { return clinux_propagation_slave }
  if value == SWIFTLET__SHIM__V1__PROPAGATION__SHARED { return clinux_propagation_shared }
  return clinux_propagation_private
}

/// A new file system of the kernel's, attached nowhere yet: proc, sysfs, tmpfs, devpts, mqueue or cgroup2, of the
/// namespaces that this process is in.
func makeFileSystem(_ mount: MountRequest) throws(StepFailure) -> Int32 {
  let step = mount.stepName
  var attributes = mount.attributes
  let context = try require(clinux_fsopen(mount.pointee.type), step, on: mount.pointee.destination)
  for index in 0..<mount.pointee.n_data {
    guard let option = mount.pointee.data[index] else { continue }
    if let attribute = attributeOption(option) {
      attributes |= attribute
    } else {
      try require(configure(context, option), step, on: option)
    }
  }
  try require(clinux_fsconfig_create(context), step, on: mount.pointee.destination)
  let made = try require(clinux_fsmount(context, attributes), step, on: mount.pointee.destination)
  _ = close(context)
  return made
}

/// Options of a mount(8) line that belong to the mount, not to the file system.
private func attributeOption(_ option: UnsafePointer<CChar>) -> UInt64? {
  if isSame(option, "strictatime") { return clinux_mount_strictatime }
  if isSame(option, "noatime") { return clinux_mount_noatime }
  if isSame(option, "nodiratime") { return clinux_mount_nodiratime }
  if isSame(option, "relatime") { return 0 }
  return nil
}

private func configure(_ context: Int32, _ option: UnsafePointer<CChar>) -> Int32 {
  guard let sign = strchr(option, 0x3d) else { return clinux_fsconfig_flag(context, option) }
  let keyLength = UnsafePointer(sign) - option
  let key = UnsafeMutablePointer<CChar>.allocate(capacity: keyLength + 1)
  defer { key.deallocate() }
  memcpy(key, option, keyLength)
  key[keyLength] = 0
  return clinux_fsconfig_string(context, key, sign + 1)
}

/// A tmpfs of a size, attached nowhere yet.
/// - Parameter owner: whose user 0 it belongs to; nil: the node's.
func makeTmpfs(
  size: String, mode: String, attributes: UInt64, owner: PodUsers? = nil, _ step: String
) throws(StepFailure) -> Int32 {
  let context = try require(clinux_fsopen("tmpfs"), step, "tmpfs")
  defer { _ = close(context) }
  try require(clinux_fsconfig_string(context, "size", size), step, "size=" + size)
  try require(clinux_fsconfig_string(context, "mode", mode), step, "mode=" + mode)
  if let owner {
    try require(clinux_fsconfig_string(context, "uid", "\(owner.uid)"), step, "uid")
    try require(clinux_fsconfig_string(context, "gid", "\(owner.gid)"), step, "gid")
  }
  try require(clinux_fsconfig_create(context), step, "tmpfs")
  return try require(clinux_fsmount(context, attributes), step, "tmpfs")
}
