internal import CLinux
internal import Glibc
internal import SystemPackage

/// Starts a detached thread with every signal blocked: signals are for the threads that ask for them. It begins in the
/// network namespace of the caller's thread.
///
/// - Parameter name: as ps(1) shows the thread, at most 15 bytes.
/// - Throws: EAGAIN where a limit on threads is reached; nothing is called then.
package func startThread(named name: String, _ body: @escaping @Sendable () -> Void) throws(SystemCallError) {
  final class Box {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var all = sigset_t()
  var before = sigset_t()
  sigfillset(&all)
  pthread_sigmask(SIG_SETMASK, &all, &before)
  defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
  let box = Unmanaged.passRetained(
    Box {
      clinux_host_name_thread(name)
      body()
    })
  var thread = pthread_t()
  let failed = pthread_create(
    &thread, nil,
    { argument in
      if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
      return nil
    }, box.toOpaque())
  guard failed == 0 else {
    box.release()
    throw SystemCallError(call: "pthread_create", errno: Errno(rawValue: failed), subject: "thread \(name)")
  }
  pthread_detach(thread)
}
