import Glibc
import LinuxSystem
import Testing

struct DirectoriesTests {
  let scratch: ScratchDirectory

  init() throws { scratch = try ScratchDirectory() }

  @Test func `a private directory is made with those above it`() throws {
    let path = "\(scratch.path)/a/b/c"
    try PrivateDirectory.make(path)
    try PrivateDirectory.make(path)
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_mode & 0o7777 == 0o700)
  }

  @Test func `one that lets others in is refused, as is a link`() throws {
    let path = "\(scratch.path)/loose"
    mkdir(path, 0o755)
    chmod(path, 0o750)
    #expect(errno { try PrivateDirectory.make(path) } == EPERM)
    let real = "\(scratch.path)/real"
    try PrivateDirectory.make(real)
    symlink(real, "\(scratch.path)/link")
    #expect(errno { try PrivateDirectory.make("\(scratch.path)/link") } == ENOTDIR)
  }

  @Test func `a lock has one holder, who is named`() throws {
    let path = "\(scratch.path)/lock"
    do {
      let lock = try FileLock(path: path)
      do throws(FileLock.Failure) {
        _ = try FileLock(path: path)
        Issue.record("locked twice")
      } catch {
        guard case .held(path, getpid()) = error else {
          Issue.record("\(error)")
          return
        }
      }
      withExtendedLifetime(lock) {}
    }
    _ = try FileLock(path: path)
  }

  @Test func `what a dead holder left is waited for`() throws {
    let path = "\(scratch.path)/lock"
    // No process has this pid: it is above the kernel's bound of 2^22 (proc(5)).
    try writeFileAtomically(path, Array("\(Int32.max)\n".utf8))
    let left = open(path, O_RDWR | O_CLOEXEC)
    #expect(flock(left, LOCK_EX) == 0)
    var pauses = 0
    let lock = try FileLock(path: path) {
      pauses += 1
      if pauses == 3 { close(left) }
    }
    #expect(pauses == 3)
    withExtendedLifetime(lock) {}
  }

  @Test func `an atomic write leaves one file with the mode asked for`() throws {
    let path = "\(scratch.path)/file"
    try writeFileAtomically(path, Array("one".utf8))
    try writeFileAtomically(path, Array("two".utf8), mode: 0o644)
    #expect(try scratch.read("file") == "two")
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_mode & 0o7777 == 0o644)
    #expect(try RootHandle.open(path: scratch.path).list("/").count == 1)
    #expect(errno { try writeFileAtomically("\(scratch.path)/no/file", []) } == ENOENT)
  }

  @Test func `the boot and the clock are readable`() throws {
    #expect(try BootID.current().utf8.count == 36)
    #expect(WallClock.now() > 1_700_000_000_000_000_000)
  }
}
