/// The checks of the node itself: what the kernel offers and how it is set.
enum NodeChecks {
  static let stateDirectory = "/var/lib/swiftlet"

  static func all(_ facts: NodeFacts, stateDirectory: String = stateDirectory) -> [Finding] {
    [
      user(facts), kernel(facts), cgroups(facts), overlay(facts), seccomp(facts), forwarding(facts),
      bridgeNetfilter(facts), space(facts, stateDirectory),
    ]
  }

  static func user(_ facts: NodeFacts) -> Finding {
    facts.userID == 0
      ? Finding("user", .ok, "root")
      : Finding("user", .warn, "uid \(facts.userID): the runtime's socket is root's", remedy: "run as root")
  }

  static func kernel(_ facts: NodeFacts) -> Finding {
    let needed = [
      ("openat2", SystemCallProbe.openat2), ("clone3", SystemCallProbe.clone3), ("fsopen", SystemCallProbe.fsopen),
      ("open_tree", SystemCallProbe.openTree), ("move_mount", SystemCallProbe.moveMount),
      ("mount_setattr", SystemCallProbe.mountSetattr), ("pidfd_open", SystemCallProbe.pidfdOpen),
      ("close_range", SystemCallProbe.closeRange),
    ]
    let missing = needed.filter { !facts.hasSystemCall($0.1) }.map(\.0)
    guard missing.isEmpty else {
      return Finding(
        "kernel", .fail, "\(facts.kernelRelease) has no \(missing.joined(separator: ", "))",
        remedy: "a kernel of 6.1 or later; or a seccomp filter around this process hides them")
    }
    let major = facts.kernelRelease.split(separator: ".").first.flatMap { Int($0) } ?? 0
    guard major >= 6 else {
      return Finding(
        "kernel", .warn, "\(facts.kernelRelease) has every call that is needed, but is older than what is tested (6.1)",
        remedy: "a kernel of 6.1 or later")
    }
    return Finding("kernel", .ok, "\(facts.kernelRelease): openat2, clone3, mount API, pidfd")
  }

  /// Which cgroup tree the node has, from its mounts (cgroups(7)).
  static func cgroups(_ facts: NodeFacts) -> Finding {
    guard let mounts = facts.read("/proc/self/mountinfo") else {
      return Finding("cgroups", .fail, "/proc/self/mountinfo cannot be read", remedy: "mount proc on /proc")
    }
    var unified: [String] = []
    var legacy: Set<String> = []
    for line in mounts.split(separator: "\n") {
      let halves = line.split(separator: " - ", maxSplits: 1).map { $0.split(separator: " ").map(String.init) }
      guard halves.count == 2, halves[0].count > 4, let type = halves[1].first else { continue }
      if type == "cgroup2" { unified.append(halves[0][4]) }
      if type == "cgroup" { legacy.formUnion((halves[1].last ?? "").split(separator: ",").map(String.init)) }
    }
    if legacy.isEmpty, let tree = unified.first {
      let offered = Set(
        (facts.read("\(tree)/cgroup.controllers") ?? "").split(whereSeparator: \.isWhitespace).map(String.init))
      return controllers("v2 on \(tree)", ["cpu", "memory", "pids"].filter { !offered.contains($0) })
    }
    guard !legacy.isEmpty else {
      return Finding("cgroups", .fail, "no cgroup tree is mounted", remedy: "mount -t cgroup2 none /sys/fs/cgroup")
    }
    let kind = unified.isEmpty ? "v1" : "v1 with a v2 tree beside it (hybrid)"
    return controllers(kind, ["cpu", "memory", "pids", "devices"].filter { !legacy.contains($0) })
  }

  private static func controllers(_ kind: String, _ missing: [String]) -> Finding {
    guard missing.isEmpty else {
      return Finding(
        "cgroups", .fail, "\(kind), without \(missing.joined(separator: ", "))",
        remedy: "switch the controllers on (kernel command line, or cgroup.subtree_control of the parents)")
    }
    return Finding("cgroups", .ok, kind)
  }

  static func overlay(_ facts: NodeFacts) -> Finding {
    let isThere = (facts.read("/proc/filesystems") ?? "").split(separator: "\n").contains { line in
      line.split(whereSeparator: \.isWhitespace).last == "overlay"
    }
    return isThere
      ? Finding("overlayfs", .ok, "the kernel has it")
      : Finding("overlayfs", .warn, "the kernel has not loaded it", remedy: "modprobe overlay")
  }

  static func seccomp(_ facts: NodeFacts) -> Finding {
    let actions = facts.read("/proc/sys/kernel/seccomp/actions_avail") ?? ""
    return actions.contains("errno")
      ? Finding("seccomp", .ok, "filters are available")
      : Finding(
        "seccomp", .fail, "the kernel has no seccomp filters: containers with the default profile cannot start",
        remedy: "a kernel with CONFIG_SECCOMP_FILTER")
  }

  static func forwarding(_ facts: NodeFacts) -> Finding {
    let families = [("IPv4", "/proc/sys/net/ipv4/ip_forward"), ("IPv6", "/proc/sys/net/ipv6/conf/all/forwarding")]
    let off = families.filter { facts.read($0.1)?.first != "1" }
    guard let first = off.first else { return Finding("ip_forward", .ok, "on for IPv4 and IPv6") }
    let key = first.1.dropFirst("/proc/sys/".count).split(separator: "/").joined(separator: ".")
    return Finding(
      "ip_forward", .warn, "off for \(off.map(\.0).joined(separator: " and ")): pods reach nothing beyond this node",
      remedy: "sysctl -w \(key)=1 (swiftletd does it at its start)")
  }

  static func bridgeNetfilter(_ facts: NodeFacts) -> Finding {
    let keys = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"]
    let on = keys.filter { facts.read("/proc/sys/net/bridge/\($0)")?.first == "1" }
    guard let first = on.first else { return Finding("bridge-nf", .ok, "bridged frames do not pass iptables") }
    return Finding(
      "bridge-nf", .warn, "\(on.joined(separator: ", ")) on: frames between pods of this node pass iptables too",
      remedy: "sysctl -w net.bridge.\(first)=0 (swiftletd does it unless bridge_nf_call is \"keep\")")
  }

  static func space(_ facts: NodeFacts, _ directory: String) -> Finding {
    guard let space = facts.space(directory), space.totalBytes > 0 else {
      return Finding("space", .warn, "the file system of \(directory) cannot be asked")
    }
    let free = "\(Humane.size(bytes: space.freeBytes)) of \(Humane.size(bytes: space.totalBytes)) free for \(directory)"
    let tenth = space.freeBytes < space.totalBytes / 10
    // Some file systems have no fixed number of inodes and report none.
    let fewInodes = space.totalInodes > 0 && space.freeInodes < space.totalInodes / 20
    if space.freeBytes < 1_000_000_000 {
      return Finding("space", .fail, free, remedy: "remove images (swiftlet rmi), or give the disk more room")
    }
    if tenth || fewInodes {
      let why = fewInodes ? "\(free), but only \(space.freeInodes) inodes" : free
      return Finding("space", .warn, why, remedy: "remove images that nobody needs: swiftlet images, swiftlet rmi")
    }
    return Finding("space", .ok, free)
  }
}
