"""Who may import whom. README.md has the same as a picture; Package.swift must not say more than this.

Arrows point down only: door -> CRIServer -> rooms -> {LinuxSystem, RuntimeModel} -> CLinux. The shim shares with the
daemon only proto/shim.proto and CLinux.
"""

LOW = {"LinuxSystem", "RuntimeModel", "CLinux"}

ROOMS: dict[str, set[str]] = {
    "CLinux": set(),
    "CProtobufC": set(), "CNetlink": set(), "CNFTables": set(), "CSeccomp": set(), "CArchive": set(), "CSQLite": set(),
    "CLibYAML": set(), "CZlib": set(),
    "CShimMessages": {"CProtobufC"},
    # inside a pod
    "ShimCore": {"CLinux", "CShimMessages"},
    "swiftlet-shim": {"ShimCore", "CLinux"},
    "swiftlet-pause": {"CLinux"},
    # the daemon's, lowest first
    "RuntimeModel": set(),
    "LinuxSystem": {"CLinux", "RuntimeModel"},
    "Seccomp": {"RuntimeModel", "CSeccomp"},
    "Store": LOW | {"CSQLite"},
    "PodNetwork": LOW | {"CNetlink", "CNFTables"},
    "NodeRegistry": LOW,
    "CDI": LOW | {"CLibYAML"},
    "CNI": LOW,
    "ImageStore": LOW | {"CArchive"},
    "SPDY": {"CZlib"},
    "Streaming": LOW | {"SPDY"},
    "ShimProtocol": LOW | {"CLinux"},
    "CRIProtocol": set(),
    "CRIServer": LOW | {"CRIProtocol", "ShimProtocol", "ImageStore", "NodeRegistry", "PodNetwork", "CDI", "CNI",
                        "Seccomp", "Store", "Streaming"},
    "CRIClient": {"CRIProtocol", "RuntimeModel", "SPDY"},
    # doors
    # six of them for their part of the configuration
    "swiftletd": LOW | {"CRIServer", "ImageStore", "NodeRegistry", "PodNetwork", "CDI", "CNI", "Streaming"},
    "swiftlet": {"CRIClient"},
    "network-bench": LOW | {"PodNetwork"},  # not shipped
}

# Compiled with Embedded Swift: libc through CLinux, nothing else.
EMBEDDED = {"ShimCore", "swiftlet-shim", "swiftlet-pause"}

# May have the whole of Foundation. The daemon must not: it costs 6 MB of memory.
FOUNDATION = {"CRIClient", "swiftlet"}

# Files in rooms that handle foreign trees, and yet name system calls that take a path: each only for paths that nobody
# but us can write to, or for functions of their own with such a name that work relative to a descriptor.
PATH_CALL_ROOMS = {"ShimCore", "ImageStore", "CRIServer"}
PATH_CALL_FILES = {
    "CRIServer/Lifecycle/HostFiles.swift": "a pod's run directory",
    "CRIServer/Lifecycle/ShimProcess.swift": "the shim's socket",
    "CRIServer/Spec/HostDevices.swift": "the node's devices",
    "ImageStore/Archive/ArchiveContents.swift": "blobs taken from an archive, under names of ours",
    "ImageStore/Layers/FileCalls.swift": "a layer's top directory; below it, descriptors",
    "ImageStore/Registry/BlobDownload.swift": "blobs being downloaded, under names of ours",
    "ImageStore/Store": "the store's own directories",
    "ShimCore/CgroupPaths.swift": "cgroup directories from the daemon",
    "ShimCore/LogPlace.swift": "the log file, whose path kubelet owns",
    "ShimCore/MountDevices.swift": "own function `link`",
    "ShimCore/MountRoot.swift": "own function `open`",
    "ShimCore/ProcessTree.swift": "procfs of the node",
    "ShimCore/RunShim.swift": "leaves the directory it was started in",
    "ShimCore/TroubleLog.swift": "the shim's own log in the run directory",
}
