internal import Glibc

/// Time since boot, suspend included: addresses rest in real time (clock_gettime(2)).
func bootTime() -> Duration {
  var time = timespec()
  clock_gettime(CLOCK_BOOTTIME, &time)
  return .seconds(Int64(time.tv_sec)) + .nanoseconds(Int64(time.tv_nsec))
}
