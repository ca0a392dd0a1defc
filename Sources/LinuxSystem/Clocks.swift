internal import Glibc

/// This run of the kernel.
package enum BootID {
  /// `/proc/sys/kernel/random/boot_id` (random(4)): another after every boot.
  package static func current() throws(SystemCallError) -> String {
    let bytes = try readSmallFile("/proc/sys/kernel/random/boot_id", limit: 64)
    return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
  }
}

/// The time as people read it; it may jump.
package enum WallClock {
  /// Nanoseconds since 1970 (CLOCK_REALTIME).
  package static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
