import Glibc
import LinuxSystem
import Testing

struct RootHandleTests {
  let scratch: ScratchDirectory
  var root: String { "\(scratch.path)/root" }

  init() throws {
    scratch = try ScratchDirectory()
    mkdir("\(scratch.path)/root", 0o755)
    try scratch.write("outside", "secret")
  }

  private func openRoot() throws -> RootHandle { try RootHandle.open(path: root) }

  @Test func `links end at the root`() throws {
    try scratch.write("root/inside", "mine")
    symlink("/inside", "\(root)/absolute")
    symlink("../../../../inside", "\(root)/up")
    symlink("../outside", "\(root)/escape")
    let handle = try openRoot()
    for name in ["absolute", "up", "/inside", "../../inside"] {
      #expect(try handle.readFile(name, limit: 100) == Array("mine".utf8), "\(name)")
    }
    #expect(errno { _ = try handle.readFile("escape", limit: 100) } == ENOENT)
    #expect(errno { _ = try handle.open("absolute", flags: O_RDONLY, followsLinks: false) } == ELOOP)
  }

  @Test func `magic links are refused`() throws {
    let handle = try RootHandle.open(path: "/proc/self")
    #expect(errno { _ = try handle.open("exe", flags: O_RDONLY) } == ELOOP)
    #expect(errno { _ = try handle.open("root/etc", flags: O_RDONLY) } == ELOOP)
  }

  @Test func `only regular files of the size allowed are read`() throws {
    mkfifo("\(root)/pipe", 0o666)
    try scratch.write("root/big", String(repeating: "x", count: 5000))
    let handle = try openRoot()
    #expect(errno { _ = try handle.readFile("pipe", limit: 10) } == EINVAL)
    #expect(errno { _ = try handle.readFile("/", limit: 10) } == EINVAL)
    #expect(errno { _ = try handle.readFile("big", limit: 4999) } == EFBIG)
    #expect(try handle.readFile("big", limit: 5000).count == 5000)
    #expect(errno { _ = try handle.readFile("a\0b", limit: 1) } == EINVAL)
  }

  @Test func `directories are made inside, through links, never past a dangling one`() throws {
    mkdir("\(root)/real", 0o755)
    symlink("/real", "\(root)/link")
    symlink("/nowhere", "\(root)/dangling")
    try scratch.write("root/file")
    let handle = try openRoot()
    _ = try handle.makeDirectories("/link/a/b", mode: 0o711)
    #expect(try handle.status("real/a/b").mode & 0o7777 == 0o711)
    _ = try handle.makeDirectories("link/a/b")
    _ = try handle.makeDirectories("/")
    let refusals = [ELOOP, ENOTDIR]
    #expect(refusals.contains(errno { _ = try handle.makeDirectories("dangling/x") } ?? 0))
    #expect(errno { _ = try handle.makeDirectories("file/x") } == ENOTDIR)
    #expect(errno { _ = try handle.makeDirectories("a/../b") } == EINVAL)
  }

  @Test func `a removal takes the whole tree and follows nothing`() throws {
    mkdir("\(scratch.path)/kept", 0o755)
    try scratch.write("kept/file")
    let handle = try openRoot()
    _ = try handle.makeDirectories("tree/a/b/c")
    _ = try handle.makeDirectories("tree/d")
    try scratch.write("root/tree/a/file")
    symlink("../../kept", "\(root)/tree/out")
    symlink("\(scratch.path)/kept", "\(root)/tree/a/b/absolute")
    mkfifo("\(root)/tree/d/pipe", 0o600)
    try handle.remove("tree")
    #expect(try handle.list("/").isEmpty)
    #expect(try scratch.read("kept/file") == "")
    try handle.remove("tree")
    try handle.remove("no/such/parent")
    symlink("../kept", "\(root)/link")
    try handle.remove("link")
    #expect(try scratch.read("kept/file") == "")
    #expect(errno { try handle.remove("/") } == EINVAL)
    #expect(errno { try handle.remove("x/..") } == EINVAL)
  }

  @Test func `a tree deeper than there are descriptors goes too`() throws {
    let handle = try openRoot()
    var current = try handle.makeDirectories("deep")
    for _ in 0..<3000 {
      current = try current.withRawDescriptor { (raw) throws(SystemCallError) in
        mkdirat(raw, "d", 0o755)
        return OwnedFD(owning: openat(raw, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC))
      }
    }
    try handle.remove("deep")
    #expect(try handle.list("/").isEmpty)
  }

  @Test func `names are bytes`() throws {
    let handle = try openRoot()
    try handle.withRawDescriptor { raw in
      let name: [CChar] = [CChar(bitPattern: 0xff), 0x41, 0]
      let made = mkdirat(raw, name, 0o755)
      #expect(made == 0)
      _ = try handle.makeDirectories("plain")
    }
    #expect(Set(try handle.list("/")) == [[0xff, 0x41], Array("plain".utf8)])
    #expect(errno { _ = try handle.list("/", limit: 1) } == E2BIG)
  }
}
