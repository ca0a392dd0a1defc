/// The names of Linux's capabilities (linux/capability.h), without their prefix `CAP_`.
package enum CapabilityName {
  /// By number: the position is the bit in a mask.
  private static let names = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
  ]

  /// - Parameter name: with or without `CAP_`, in any case.
  /// - Returns: the mask with its bit alone; nil for an unknown one.
  package static func bit(_ name: some StringProtocol) -> UInt64? {
    names.firstIndex(of: plain(name)).map { 1 << UInt64($0) }
  }

  /// In upper case, without the prefix. Only ASCII has cases here: U+017F, whose upper case is S, is no S.
  package static func plain(_ name: some StringProtocol) -> String {
    let upper = String(
      decoding: name.utf8.map { (97...122).contains($0) ? $0 - 32 : $0 }, as: UTF8.self)
    return upper.hasPrefix("CAP_") ? String(upper.dropFirst(4)) : upper
  }
}
