import CLinux

/// A pod's first process: holds its namespaces and sleeps until it is told to end.
///
/// SIGCHLD is ignored, so that the kernel reaps what is reparented to us by itself: no zombie is ever seen, not even one
/// that was left by its parent before it came here, and this process does not wake up. That is enough since
/// reparenting sets every child's exit signal to SIGCHLD. TERM and INT are blocked and waited for, because the kernel
/// drops a signal to a PID namespace's first process that has no handler unless it is blocked.
@c(swiftlet_pause_main)
public func start(_ count: Int32, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32 {
  _ = clinux_ignore_signal(SIGCHLD)
  var ending = sigset_t()
  sigemptyset(&ending)
  sigaddset(&ending, SIGTERM)
  sigaddset(&ending, SIGINT)
  sigprocmask(SIG_BLOCK, &ending, nil)
  while true {
    let number = sigwaitinfo(&ending, nil)
    if number > 0 { return 0 }
  }
}
