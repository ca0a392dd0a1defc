import CLinux

/// Serves one pod until it is over: `swiftlet-shim --id ID --dir DIRECTORY`, descriptor 3 a connected socket (the first
/// client), 4 the listening one.
/// - Returns: the process's exit code.
public func runShim(_ count: Int32, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32 {
  var id = ""
  var directory = ""
  var index = 1
  while index + 1 < Int(count) {
    if "--id".matches(arguments[index]) {
      id = text(arguments[index + 1])
    } else if "--dir".matches(arguments[index]) {
      directory = text(arguments[index + 1])
    } else {
      return usage()
    }
    index += 2
  }
  guard index == Int(count), !id.utf8.isEmpty, !directory.utf8.isEmpty else { return usage() }
  do throws(StepFailure) {
    try runFromReadonlyMount(arguments)
  } catch {
    TroubleLog(directory: directory).write("\(error.step): \(errorName(error.errno))")
    return 1
  }
  // Every process of a pod is seen from here, and nothing in it may look into this one.
  _ = clinux_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
  _ = clinux_prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
  keepMemorySmall()
  let trouble = TroubleLog(directory: directory)
  prepareDescriptors()
  _ = chdir("/")
  umask(0)
  // What the daemon was given for itself is no matter of its pods', which inherit from here.
  _ = clinux_prctl(PR_SET_TIMERSLACK, 50_000, 0, 0, 0)
  _ = clinux_run_anywhere()
  for number in [SIGPIPE, SIGHUP, SIGINT, SIGTERM, SIGQUIT] { _ = clinux_ignore_signal(number) }
  let scratch = Scratch()
  guard let loop = Loop(onIdle: scratch.release), let signals = childSignals() else {
    trouble.write("epoll or signalfd: \(errorName(clinux_errno()))")
    return 1
  }
  let shim = Shim(id: id, loop: loop, scratch: scratch, trouble: trouble)
  shim.signals = signals
  _ = loop.watch(signals, Loop.readable, shim)
  Listener(listeningSocket, shim: shim).accept(firstClient)
  shim.run()
  return 0
}

private let firstClient: Int32 = 3
private let listeningSocket: Int32 = 4

private func usage() -> Int32 {
  let line: StaticString = "usage: swiftlet-shim --id ID --dir DIRECTORY\n"
  _ = write(2, line.utf8Start, line.utf8CodeUnitCount)
  return 2
}

/// Freed memory goes back at once: large blocks are mappings of their own, the heap has no reserve.
private func keepMemorySmall() {
  mallopt(M_MMAP_THRESHOLD, 32 << 10)
  mallopt(M_TRIM_THRESHOLD, 16 << 10)
  mallopt(M_TOP_PAD, 0)
}

/// 0, 1 and 2 exist, 3 and 4 are ours alone, and nothing else was inherited.
private func prepareDescriptors() {
  let null = clinux_open("/dev/null", O_RDWR | O_CLOEXEC, 0)
  for descriptor in Int32(0)...2 where clinux_fcntl(descriptor, F_GETFD, 0) < 0 && null >= 0 {
    _ = dup2(null, descriptor)
  }
  if null > 4 { close(null) }
  _ = clinux_fcntl(firstClient, F_SETFD, Int(FD_CLOEXEC))
  _ = clinux_fcntl(listeningSocket, F_SETFD, Int(FD_CLOEXEC))
  _ = clinux_fcntl(listeningSocket, F_SETFL, Int(O_NONBLOCK))
  _ = close_range(5, UInt32.max, 0)
}

/// A descriptor that is readable when a child has ended.
private func childSignals() -> Int32? {
  var mask = sigset_t()
  sigemptyset(&mask)
  sigaddset(&mask, SIGCHLD)
  sigprocmask(SIG_BLOCK, &mask, nil)
  let descriptor = signalfd(-1, &mask, Int32(SFD_CLOEXEC) | Int32(SFD_NONBLOCK))
  return descriptor >= 0 ? descriptor : nil
}
