import Glibc
import LinuxSystem
import Seccomp
import SystemPackage
import Testing

private let isAskedFor = getenv("SWIFTLET_KERNEL_TESTS").map { String(cString: $0) } == "1"

/// Loads the default profile in a process of its own (Python, which can make any system call) and tries.
@Suite(.enabled(if: isAskedFor, "SWIFTLET_KERNEL_TESTS is not 1"))
struct LoadedProfileTests {
  /// Runs `body` under the filter; prints a line for each call: its name, then `ok` or the errno's name.
  private func underFilter(_ body: String, capabilities: UInt64 = 0xa804_25fb) throws -> [String: String] {
    try #require(geteuid() == 0, "kernel tests need root")
    let program = try SeccompCompiler().compile(.runtimeDefault(capabilities: capabilities))
    let hex = program.bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    let script = """
      import ctypes, errno, os, socket, struct, subprocess, sys
      libc = ctypes.CDLL(None, use_errno=True)
      libc.syscall.restype = ctypes.c_long
      code = bytes.fromhex('\(hex)')
      buffer = ctypes.create_string_buffer(code)
      header = struct.pack('HxxxxxxQ', len(code) // 8, ctypes.addressof(buffer))
      assert libc.prctl(38, 1, 0, 0, 0) == 0
      assert libc.prctl(22, 2, ctypes.create_string_buffer(header), 0, 0) == 0, os.strerror(ctypes.get_errno())
      def call(name, number, *arguments):
        ctypes.set_errno(0)
        value = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
        print(name, 'ok' if value >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
        return value
      \(body)
      """
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let process = try spawnProcess(
      path: "/usr/bin/python3", arguments: ["python3", "-c", script], environment: ["PATH=/usr/bin:/bin"],
      descriptors: [(ends[1], 1), (ends[1], 2)], cgroup: nil, newSession: true)
    close(ends[1])
    var text = ""
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = read(ends[0], &buffer, buffer.count), count > 0 {
      text += String(decoding: buffer.prefix(count), as: UTF8.self)
    }
    close(ends[0])
    var entry = pollfd(fd: process.pidfd.withRawDescriptor { $0 }, events: Int16(POLLIN), revents: 0)
    #expect(poll(&entry, 1, 60_000) == 1)
    #expect(try process.pidfd.reap() == .exited(code: 0), "\(text)")
    var results: [String: String] = [:]
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ", maxSplits: 1).map(String.init)
      if words.count == 2 { results[words[0]] = words[1] }
    }
    return results
  }

  @Test func `what reaches the node is refused`() throws {
    let results = try underFilter(
      """
      call('alg', 41, 38, 5, 0)
      call('alg_upper', 41, 38 | 1 << 32, 5, 0)
      call('vsock', 41, 40, 1, 0)
      call('rxrpc', 41, 33, 2, 2)
      call('unshare', 272, 0x10000000)
      call('mount', 165, 0, 0, 0, 0, 0)
      call('keyctl', 250, 0, 0)
      call('add_key', 248, 0, 0, 0, 0, 0)
      call('bpf', 321, 0, 0, 0)
      call('io_uring_setup', 425, 1, 0)
      call('userfaultfd', 323, 0)
      call('perf_event_open', 298, 0, 0, 0, 0, 0)
      call('setns', 308, 0, 0)
      call('clone_user', 56, 0x10000011, 0, 0, 0, 0)
      call('clone3', 435, 0, 0)
      call('personality', 135, 0x0400000)
      call('future', 500)
      call('listmount', 458, 0, 0, 0, 0)
      """)
    for name in [
      "alg", "alg_upper", "vsock", "rxrpc", "unshare", "mount", "keyctl", "add_key", "bpf", "io_uring_setup",
      "userfaultfd", "perf_event_open", "setns", "clone_user", "personality", "listmount",
    ] { #expect(results[name] == "EPERM", "\(name)") }
    #expect(results["clone3"] == "ENOSYS")
    #expect(results["future"] == "ENOSYS")
  }

  @Test func `ordinary work goes on`() throws {
    let results = try underFilter(
      """
      call('getpid', 39)
      call('inet', 41, 2, 1, 0)
      call('inet6', 41, 10, 1, 0)
      call('unix', 41, 1, 1, 0)
      call('netlink', 41, 16, 3, 0)
      call('personality', 135, 0xffffffff)
      call('fchmodat2', 452, -100, 0, 0, 0)
      import threading
      thread = threading.Thread(target=lambda: print('thread ok', flush=True)); thread.start(); thread.join()
      print('child', subprocess.run(['sh', '-c', 'echo ok | cat'], capture_output=True, text=True).stdout.strip())
      import hashlib, json, tempfile, select, time
      with tempfile.TemporaryDirectory() as path: open(path + '/x', 'w').write('x')
      server = socket.create_server(('127.0.0.1', 0)); client = socket.create_connection(server.getsockname())
      print('loopback ok')
      """)
    for name in ["getpid", "inet", "inet6", "unix", "netlink", "personality", "thread", "child", "loopback"] {
      #expect(results[name] == "ok", "\(name)")
    }
    // Passed the filter; the kernel itself has no such address.
    #expect(results["fchmodat2"] == "EFAULT")
  }

  @Test func `a capability opens its calls`() throws {
    let results = try underFilter("call('unshare', 272, 0)\ncall('chroot', 161, 0)", capabilities: 1 << 21)
    #expect(results["unshare"] == "ok")
    #expect(results["chroot"] == "EPERM")
  }

  @Test func `a 32-bit program's calls are judged too`() throws {
    // int $0x80 from 64-bit code makes an i386 call. Each snippet loads eax, ebx, ecx, edx and returns.
    let results = try underFilter(
      """
      import mmap
      def i386(name, number, b=0, c=0, d=0):
        code = b'\\x53\\xb8' + struct.pack('<I', number) + b'\\xbb' + struct.pack('<I', b) \\
          + b'\\xb9' + struct.pack('<I', c) + b'\\xba' + struct.pack('<I', d) + b'\\xcd\\x80\\x5b\\xc3'
        page = mmap.mmap(-1, 4096, prot=7); page.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        value = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
        print(name, 'ok' if value >= 0 else errno.errorcode[-value], flush=True)
      i386('getpid', 20)
      i386('socketcall_socket', 102, 1, 0)
      i386('socket_alg', 359, 38, 5, 0)
      i386('socket_unix', 359, 1, 1, 0)
      i386('keyctl', 288)
      i386('unshare', 310, 0x10000000)
      """)
    #expect(results["getpid"] == "ok" && results["socket_unix"] == "ok")
    for name in ["socketcall_socket", "socket_alg", "keyctl", "unshare"] {
      #expect(results[name] == "EPERM", "\(name)")
    }
  }
}
