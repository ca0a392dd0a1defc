import CLinux
import CShimMessages

/// Makes what the mounts of type "image" show, detached, after this namespace's mounts have become private.
///
/// Each is an overlay of the image's layers without a writable one: whoever may remount it cannot write to the layers,
/// which all containers share; a bind mount of a layer could be made writable again.
func makeImageVolumes(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, _ rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>,
  _ sources: inout [Int32]
) throws(StepFailure) {
  for index in 0..<request.pointee.n_mounts {
    guard let mount = request.pointee.mounts[index].map({ MountRequest($0) }), mount.isType("image") else { continue }
    sources[index] = try makeImageVolume(mount, place: rootfs.pointee.mountpoint)
  }
}

/// - Parameter place: an empty directory of ours, where nothing is mounted yet in this namespace.
private func makeImageVolume(_ mount: MountRequest, place: UnsafePointer<CChar>?) throws(StepFailure) -> Int32 {
  guard mount.pointee.n_layers > 1 else { throw StepFailure(mount.stepName, -EINVAL, mount.pointee.destination) }
  var image = Swiftlet__Shim__V1__Rootfs()
  swiftlet__shim__v1__rootfs__init(&image)
  image.n_lower = mount.pointee.n_layers
  image.lower = mount.pointee.layers
  let tree = try makeRoot(&image)
  let attributes = mount.attributes | clinux_mount_readonly
  try require(
    clinux_mount_setattr(tree, 0, attributes, clinux_propagation_private), mount.stepName,
    on: mount.pointee.destination)
  guard isSet(mount.pointee.sub_path) else { return tree }
  guard let place, place.pointee == 0x2f else { throw StepFailure(mount.stepName, -EINVAL, place) }
  // Only Linux 6.15 and newer copy a part of a mount that is attached nowhere. Here nobody but this process sees it.
  try require(clinux_attach_mount_at(tree, place), mount.stepName, on: place)
  defer {
    _ = clinux_detach_mount(place)
    _ = close(tree)
  }
  let directory = try ContainerRoot(descriptor: tree).openDirectory(mount.pointee.sub_path, "image sub path")
  defer { _ = close(directory) }
  return try require(clinux_clone_tree(directory, "", 0), "image sub path", on: mount.pointee.sub_path)
}
