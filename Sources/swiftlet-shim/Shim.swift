import ShimCore

/// C's main. All there is to it is in ShimCore.
@c(swiftlet_shim_main)
public func start(_ count: Int32, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32 {
  runShim(count, arguments)
}
