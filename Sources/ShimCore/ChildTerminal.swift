import CLinux

// A child's terminal. What is at /dev/pts is the container's word: whatever it has made of it, what is opened here is a
// new terminal of a devpts or nothing (ATTACKS L07).

/// Makes a terminal, hands its master over, and gives its other end to the child's user.
///
/// The child is inside the container already, with all of its capabilities: so the terminal has a name there, and the
/// master never passes through anything of the container's.
/// - Returns: the other end as all three streams.
func makeTerminal(_ terminal: NewTerminal, owner: UInt32, in root: ContainerRoot) throws(StepFailure) -> Stdio {
  let master = try openMaster(root)
  // By the master and never by name: names in /dev/pts can be covered.
  let peer = try require(
    clinux_pty_peer(master, O_RDWR | O_NOCTTY | O_CLOEXEC), "open terminal", "peer of /dev/pts/ptmx")
  guard isTerminal(peer, majors: 136...143) else {
    throw StepFailure(step: "open terminal", errno: ENODEV, subject: "peer of /dev/pts/ptmx")
  }
  // The group stays that of all terminals, as the mount has it.
  if owner != 0 { try require(clinux_fchown(peer, owner, UInt32.max), "own terminal") }
  if terminal.width != 0 || terminal.height != 0 {
    try require(clinux_resize_terminal(master, terminal.width, terminal.height), "resize terminal")
  }
  if terminal.isConsole { try showConsole(peer, in: root) }
  try require(clinux_send_descriptor(terminal.socket, master), "hand over terminal")
  _ = close(master)
  return Stdio(input: peer, output: peer, error: peer)
}

private func openMaster(_ root: ContainerRoot) throws(StepFailure) -> Int32 {
  let directory = try require(root.findPlain("/dev/pts"), "open terminal", "/dev/pts")
  defer { _ = close(directory) }
  guard isOnDevpts(directory) else { throw StepFailure(step: "open terminal", errno: ENODEV, subject: "/dev/pts") }
  // Nobody but the kernel makes files there; one that is mounted over them is not taken for it.
  let resolve = UInt64(RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS)
  let master = try require(
    clinux_openat2(directory, "ptmx", UInt64(O_RDWR | O_NOCTTY), 0, resolve), "open terminal", "/dev/pts/ptmx")
  guard isTerminal(master, majors: 5...5) else {
    throw StepFailure(step: "open terminal", errno: ENODEV, subject: "/dev/pts/ptmx")
  }
  return master
}

/// Shows the terminal at /dev/console, which our own /dev has a file for. Where /dev is a volume without one, there is
/// none: nothing is made in a volume.
private func showConsole(_ peer: Int32, in root: ContainerRoot) throws(StepFailure) {
  let place = root.findPlain("/dev/console")
  if place == -ENOENT { return }
  try require(place, "mount console", "/dev/console")
  defer { _ = close(place) }
  let copy = try require(clinux_clone_tree(peer, "", 0), "mount console", "terminal")
  defer { _ = close(copy) }
  try require(clinux_attach_mount(copy, place), "mount console", "/dev/console")
}

/// Whether a descriptor is a character device of a devpts.
private func isTerminal(_ file: Int32, majors: ClosedRange<UInt32>) -> Bool {
  var mode: UInt32 = 0
  var device: UInt64 = 0
  guard isOnDevpts(file), clinux_file_kind(file, &mode, &device) == 0 else { return false }
  return mode & UInt32(S_IFMT) == UInt32(S_IFCHR) && majors.contains(clinux_device_major(device))
}

private func isOnDevpts(_ file: Int32) -> Bool {
  var magic: Int64 = 0
  var flags: UInt64 = 0
  return clinux_file_system(file, &magic, &flags) == 0 && magic == clinux_devpts_magic
}
