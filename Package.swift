// swift-tools-version: 6.2
import PackageDescription

// What each room is and who may import whom: README.md, "Rooms". .ci/rooms.py holds the arrows.

/// Settings of every ordinary Swift target.
let house: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// The shim as ordinary Swift, so that `swift test` can cover it: a test target must not depend on an Embedded one.
let shimIsOrdinary = Context.environment["SWIFTLET_SHIM_ORDINARY"] == "1"

/// Settings of what runs inside a pod's shim or as its pause process: no runtime, no Foundation, one module at a time.
///
/// The toolchain keeps Embedded Swift's standard library with the dynamic one only, so `--static-swift-stdlib`, which the
/// daemon is built with, is taken back here; everything is linked in anyway.
let embedded: [SwiftSetting] =
  [.unsafeFlags(["-Xcc", "-DCLINUX_WITH_LIBC"])]
  + (shimIsOrdinary
    ? []
    : [
      .enableExperimentalFeature("Embedded"),
      .unsafeFlags(["-no-static-stdlib", "-wmo", "-Osize", "-parse-as-library"]),
    ])

/// Fully static, so that neither process needs anything from the node once it runs.
let staticLink: [LinkerSetting] = [
  .unsafeFlags(["-no-static-stdlib", "-Xclang-linker", "-static", "-Xlinker", "--gc-sections"])
]

/// The doors into a pod; not there beside an ordinary shim, which has no static library to link.
let podDoors: [Target] =
  shimIsOrdinary
  ? []
  : [
    .executableTarget(
      name: "swiftlet-shim", dependencies: ["ShimCore"], swiftSettings: embedded,
      linkerSettings: staticLink + [.linkedLibrary("protobuf-c"), .linkedLibrary("m")]),
    .executableTarget(
      name: "swiftlet-pause", dependencies: ["CLinux"], swiftSettings: embedded, linkerSettings: staticLink),
  ]

let grpcCore = Target.Dependency.product(name: "GRPCCore", package: "grpc-swift-2")
let grpcProtobuf = Target.Dependency.product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let grpcTransport = Target.Dependency.product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioWebSocket = Target.Dependency.product(name: "NIOWebSocket", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
  name: "swiftlet",
  products: [
    .executable(name: "swiftletd", targets: ["swiftletd"]),
    .executable(name: "swiftlet", targets: ["swiftlet"]),
  ] + podDoors.map { .executable(name: $0.name, targets: [$0.name]) },
  dependencies: [
    .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
    .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
    .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
    // Without its default traits, which would bring the whole of Foundation into the daemon.
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    // C, and libraries from Debian.
    .target(name: "CLinux", cSettings: [.define("CLINUX_WITH_LIBC")]),
    .target(name: "CShimMessages", dependencies: ["CProtobufC"]),
    .systemLibrary(name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
    .systemLibrary(name: "CNetlink", pkgConfig: "libnl-route-3.0", providers: [.apt(["libnl-route-3-dev"])]),
    .systemLibrary(name: "CNFTables", pkgConfig: "libnftables", providers: [.apt(["libnftables-dev"])]),
    .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
    .systemLibrary(name: "CArchive", pkgConfig: "libarchive", providers: [.apt(["libarchive-dev"])]),
    .systemLibrary(name: "CLibYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

    // Inside a pod: Embedded Swift, static.
    .target(name: "ShimCore", dependencies: ["CLinux", "CShimMessages"], swiftSettings: embedded),

    // The daemon's rooms, lowest first.
    .target(name: "RuntimeModel", swiftSettings: house),
    .target(name: "LinuxSystem", dependencies: ["CLinux", "RuntimeModel", systemPackage], swiftSettings: house),
    .target(name: "Seccomp", dependencies: ["RuntimeModel", "CSeccomp"], swiftSettings: house),
    .target(name: "Store", dependencies: ["RuntimeModel", "CSQLite"], swiftSettings: house),
    .target(
      name: "PodNetwork", dependencies: ["LinuxSystem", "RuntimeModel", "CNetlink", "CNFTables", logging],
      swiftSettings: house),
    .target(name: "CDI", dependencies: ["LinuxSystem", "RuntimeModel", "CLibYAML"], swiftSettings: house),
    .target(name: "CNI", dependencies: ["LinuxSystem", "RuntimeModel", logging, systemPackage], swiftSettings: house),
    .target(
      name: "ImageStore",
      dependencies: [
        "LinuxSystem", "RuntimeModel", "CLinux", "CArchive", logging, nioCore, nioHTTP1,
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "Crypto", package: "swift-crypto"),
      ],
      swiftSettings: house),
    .target(
      name: "NodeRegistry",
      dependencies: [
        "LinuxSystem", "RuntimeModel", "CLinux", logging, nioCore, nioHTTP1,
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      swiftSettings: house),
    .target(name: "SPDY", dependencies: ["CZlib", nioCore], swiftSettings: house),
    .target(
      name: "Streaming",
      dependencies: [
        "LinuxSystem", "RuntimeModel", "SPDY", logging, nioCore, nioPosix, nioHTTP1, nioWebSocket,
        .product(name: "Crypto", package: "swift-crypto"),
      ],
      swiftSettings: house),
    .target(
      name: "ShimProtocol", dependencies: ["CLinux", "LinuxSystem", "RuntimeModel", protobuf], swiftSettings: house),
    .target(name: "CRIProtocol", dependencies: [protobuf, grpcCore, grpcProtobuf]),
    .target(
      name: "CRIServer",
      dependencies: [
        "CRIProtocol", "ShimProtocol", "ImageStore", "NodeRegistry", "PodNetwork", "CDI", "CNI", "Seccomp", "Store",
        "Streaming", "LinuxSystem", "RuntimeModel", grpcCore, logging, protobuf, systemPackage,
      ],
      swiftSettings: house),
    .target(
      name: "CRIClient",
      dependencies: [
        "CRIProtocol", "RuntimeModel", "SPDY", grpcCore, grpcTransport, nioCore, nioHTTP1, nioPosix, nioWebSocket,
        protobuf,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: house),

    // Doors.
    .executableTarget(
      name: "swiftletd",
      dependencies: [
        "CRIServer", "ImageStore", "NodeRegistry", "PodNetwork", "CDI", "CNI", "Streaming", "LinuxSystem",
        "RuntimeModel", logging, grpcCore, grpcTransport,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "TOMLKit", package: "TOMLKit"),
      ],
      swiftSettings: house),
    .executableTarget(name: "swiftlet", dependencies: ["CRIClient"], swiftSettings: house),
    // Not shipped: `make bench`.
    .executableTarget(
      name: "network-bench",
      dependencies: [
        "PodNetwork", "RuntimeModel", logging, .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: house),

    // Tests. `…KernelTests` need root and opt in by SWIFTLET_KERNEL_TESTS=1.
    .testTarget(name: "CDITests", dependencies: ["CDI", "RuntimeModel"], swiftSettings: house),
    .testTarget(name: "CNITests", dependencies: ["CNI", "LinuxSystem", "RuntimeModel", logging], swiftSettings: house),
    .testTarget(
      name: "CRIClientTests",
      dependencies: [
        "CRIClient", "CRIProtocol", "RuntimeModel", nioCore, nioHTTP1, nioPosix, nioWebSocket, protobuf,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: house),
    .testTarget(
      name: "CRIProtocolTests", dependencies: [protobuf], exclude: ["cri-fields.tsv"], swiftSettings: house),
    .testTarget(
      name: "CRIServerTests",
      dependencies: [
        "CRIServer", "CRIProtocol", "CDI", "LinuxSystem", "PodNetwork", "ShimProtocol", "RuntimeModel", systemPackage,
      ],
      swiftSettings: house),
    .testTarget(
      name: "ImageStoreKernelTests",
      dependencies: [
        "ImageStore", "LinuxSystem", "RuntimeModel", "CLinux", logging, nioCore, nioPosix, nioHTTP1,
      ],
      swiftSettings: house),
    .testTarget(
      name: "ImageStoreTests", dependencies: ["ImageStore", "RuntimeModel", nioCore, nioPosix, nioHTTP1],
      swiftSettings: house),
    .testTarget(
      name: "LinuxSystemKernelTests", dependencies: ["LinuxSystem", "RuntimeModel", "CLinux", systemPackage],
      swiftSettings: house),
    .testTarget(
      name: "LinuxSystemTests", dependencies: ["LinuxSystem", "RuntimeModel", "CLinux", systemPackage],
      swiftSettings: house),
    .testTarget(
      name: "NodeRegistryKernelTests", dependencies: ["NodeRegistry", "RuntimeModel", logging], swiftSettings: house),
    .testTarget(
      name: "NodeRegistryTests", dependencies: ["NodeRegistry", "RuntimeModel", logging], swiftSettings: house),
    .testTarget(
      name: "PodNetworkKernelTests", dependencies: ["PodNetwork", "RuntimeModel", "LinuxSystem", "CNetlink", logging],
      swiftSettings: house),
    .testTarget(
      name: "PodNetworkTests", dependencies: ["PodNetwork", "RuntimeModel", "CNetlink"], exclude: ["Golden"],
      swiftSettings: house),
    .testTarget(name: "RuntimeModelTests", dependencies: ["RuntimeModel"], swiftSettings: house),
    .testTarget(
      name: "SeccompKernelTests", dependencies: ["Seccomp", "LinuxSystem", systemPackage], swiftSettings: house),
    .testTarget(name: "SeccompTests", dependencies: ["Seccomp", "CSeccomp"], swiftSettings: house),
    .testTarget(
      name: "ShimProtocolTests", dependencies: ["ShimProtocol", "RuntimeModel", protobuf], swiftSettings: house),
    .testTarget(name: "StoreTests", dependencies: ["Store", "RuntimeModel", "CSQLite"], swiftSettings: house),
    .testTarget(
      name: "StreamingTests",
      dependencies: ["SPDY", "Streaming", "LinuxSystem", "RuntimeModel", logging, nioCore, nioHTTP1, nioPosix],
      swiftSettings: house),
  ]
    + podDoors
    + (shimIsOrdinary
      ? [.testTarget(name: "ShimCoreTests", dependencies: ["ShimCore", "CLinux"], swiftSettings: embedded)] : []),
  swiftLanguageModes: [.v6]
)
