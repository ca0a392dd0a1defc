"""Who may import whom. README.md has the same as a picture; Package.swift must not say more than this.

Arrows point down only: door -> CRIServer -> rooms -> {LinuxSystem, RuntimeModel} -> CLinux. The shim shares with the
daemon only proto/shim.proto and CLinux.
"""

LOW = {"LinuxSystem", "RuntimeModel"}

ROOMS: dict[str, set[str]] = {
    "CLinux": set(),
    "CProtobufC": set(), "CNetlink": set(), "CNFTables": set(), "CSeccomp": set(), "CArchive": set(), "CSQLite": set(),
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
    "ImageStore": LOW | {"CArchive"},
    "ShimProtocol": LOW | {"CLinux"},
    "CRIProtocol": set(),
    "CRIServer": LOW | {"CRIProtocol", "ShimProtocol", "ImageStore", "PodNetwork", "Seccomp", "Store"},
    "CRIClient": {"CRIProtocol", "RuntimeModel"},
    # doors
    "swiftletd": {"CRIServer"} | LOW,
    "swiftlet": {"CRIClient"},
}

# Compiled with Embedded Swift: libc through CLinux, nothing else.
EMBEDDED = {"ShimCore", "swiftlet-shim", "swiftlet-pause"}

# May have the whole of Foundation. The daemon must not: it costs 6 MB of memory.
FOUNDATION = {"CRIClient", "swiftlet"}
