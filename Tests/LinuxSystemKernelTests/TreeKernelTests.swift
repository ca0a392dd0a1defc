import CLinux
import Glibc
import LinuxSystem
import Testing

@Suite(.enabled(if: kernelTestsAreAskedFor, kernelTestsReason))
struct TreeKernelTests {
  @Test func `a removal stops at a mount`() throws {
    try requireRoot()
    let path = "/tmp/swiftlet-tree-\(getpid())"
    #expect(mkdir(path, 0o755) == 0)
    let parent = try RootHandle.open(path: path)
    _ = try parent.makeDirectories("tree/mount")
    // A mount on itself: seen by `mount point` rules, and needs no file system of its own.
    #expect(mount("tmpfs", "\(path)/tree/mount", "tmpfs", 0, nil) == 0)
    defer {
      umount2("\(path)/tree/mount", 2)
      rmdir("\(path)/tree/mount")
      rmdir("\(path)/tree")
      rmdir(path)
    }
    _ = try parent.makeDirectories("tree/mount/kept")
    let refusal = errno { try parent.remove("tree") }
    #expect(refusal == EBUSY || refusal == EXDEV)
    #expect(access("\(path)/tree/mount/kept", F_OK) == 0)
  }

  @Test func `a device of the image's making is not opened`() throws {
    try requireRoot()
    let path = "/tmp/swiftlet-device-\(getpid())"
    #expect(mkdir(path, 0o755) == 0)
    defer { rmdir(path) }
    // 1:11 is /dev/kmsg.
    #expect(mknod("\(path)/passwd", S_IFCHR | 0o666, 1 << 8 | 11) == 0)
    let root = try RootHandle.open(path: path)
    #expect(errno { _ = try root.readFile("passwd", limit: 100) } == EINVAL)
    try root.remove("passwd")
    #expect(try root.list("/").isEmpty)
  }
}
