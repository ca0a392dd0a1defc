import CLinux
import Glibc
import LinuxSystem

/// Opens layers as one read-only tree, for looking into it. An overlay of several layers is a mount that is attached
/// nowhere: only its descriptor knows it, and it ends with it.
///
/// - Parameter directories: absolute, topmost first; at least one.
/// - Returns: a directory descriptor (O_PATH for an overlay).
/// - Throws: ``ImageError`` of kind `system`; before Linux 6.8 (`lowerdir+`) also for more than some 80 layers.
func openMergedView(_ directories: [String]) throws(ImageError) -> SharedFD {
  // overlayfs without an upper directory wants two layers.
  guard directories.count > 1 else { return try openTrustedDirectory(directories.first ?? "/nonexistent") }
  let failure: ImageError
  do throws(ImageError) {
    return try layersOneByOne(directories)
  } catch {
    failure = error
  }
  // An old kernel does not know `lowerdir+`. Whatever else it was comes again.
  guard let old = try? layersByDescriptor(directories) else { throw failure }
  return old
}

private func layersByDescriptor(_ directories: [String]) throws(ImageError) -> SharedFD {
  var layers: [SharedFD] = []
  for directory in directories { layers.append(try openTrustedDirectory(directory)) }
  return try withExtendedLifetime(layers) { () throws(ImageError) -> SharedFD in
    let mount = clinux_overlay_view(layers.map(\.raw), layers.count)
    guard mount >= 0 else { throw ImageError.call("fsmount", "overlay of \(directories.count) layers", -mount) }
    return SharedFD(owning: mount)
  }
}

private func layersOneByOne(_ directories: [String]) throws(ImageError) -> SharedFD {
  let context = clinux_fs_open_overlay()
  guard context >= 0 else { throw ImageError.call("fsopen", "overlay", -context) }
  let owner = SharedFD(owning: context)
  return try withExtendedLifetime(owner) { () throws(ImageError) -> SharedFD in
    guard clinux_overlay_checks_options(context) else {
      throw ImageError.call("fsconfig lowerdir+", directories[0], EOPNOTSUPP)
    }
    for directory in directories {
      let code = clinux_fs_add_lower(context, directory)
      guard code == 0 else { throw ImageError.call("fsconfig lowerdir+", directory, -code) }
    }
    let mount = clinux_fs_mount_detached(context)
    guard mount >= 0 else { throw ImageError.call("fsmount", "overlay of \(directories.count) layers", -mount) }
    return SharedFD(owning: mount)
  }
}
