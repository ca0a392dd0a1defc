import CLinux
@c(swiftlet_pause_main) public func start(_ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32 { pause(); return 0 }
