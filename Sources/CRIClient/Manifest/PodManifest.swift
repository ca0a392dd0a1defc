/// A Pod as its manifest states it: the fields that a runtime without a cluster can honour, checked.
struct PodManifest: Sendable, Equatable {
  var name: String
  var namespace = "default"
  var labels: [String: String] = [:]
  var annotations: [String: String] = [:]
  var containers: [ContainerManifest]
  var volumes: [VolumeManifest] = []
  var hostNetwork = false
  var hostPID = false
  var hostIPC = false
  var shareProcessNamespace = false
  /// nil: the pod's name.
  var hostname: String?
  var dnsPolicy: DNSPolicy?
  var dnsConfig: PodDNSManifest?
  var terminationGraceSeconds: Int64 = 30
  /// nil: not given, which in Kubernetes means Always.
  var restartPolicy: String?
  var runAsUser: Int64?
  var runAsGroup: Int64?
  var runAsNonRoot: Bool?
  var supplementalGroups: [Int64] = []
  var seccomp: SeccompManifest?
  var sysctls: [String: String] = [:]

  /// `namespace/name`, as people name a pod.
  var qualifiedName: String { "\(namespace)/\(name)" }

  enum DNSPolicy: String, Sendable, CaseIterable {
    case clusterFirst = "ClusterFirst"
    case clusterFirstWithHostNet = "ClusterFirstWithHostNet"
    case `default` = "Default"
    case none = "None"
  }
}

/// One entry of `spec.containers`.
struct ContainerManifest: Sendable, Equatable {
  var name: String
  var image: String
  var imagePullPolicy: ImagePullPolicy?
  var command: [String] = []
  var args: [String] = []
  var workingDir: String?
  /// In the order of the manifest: later values may refer to earlier ones.
  var environment: [EnvironmentVariable] = []
  var ports: [PortManifest] = []
  var mounts: [VolumeMountManifest] = []
  var limits = ResourceAmounts()
  var requests = ResourceAmounts()
  var security = ContainerSecurityManifest()
  var stdin = false
  var stdinOnce = false
  var tty = false

  enum ImagePullPolicy: String, Sendable, CaseIterable {
    case always = "Always"
    case ifNotPresent = "IfNotPresent"
    case never = "Never"
  }

  /// The policy that applies: Kubernetes takes Always for the tag `latest` only in its API server, so that here an
  /// image which is present is used unless the manifest says otherwise.
  var effectivePullPolicy: ImagePullPolicy { imagePullPolicy ?? .ifNotPresent }
}

struct EnvironmentVariable: Sendable, Equatable {
  var name: String
  var value: String
}

struct PortManifest: Sendable, Equatable {
  var containerPort: Int32
  /// 0: no host port.
  var hostPort: Int32 = 0
  var hostIP = ""
  var transport: Transport = .tcp

  enum Transport: String, Sendable, CaseIterable {
    case tcp = "TCP"
    case udp = "UDP"
    case sctp = "SCTP"
  }
}

struct VolumeMountManifest: Sendable, Equatable {
  var volume: String
  var path: String
  var isReadOnly = false
  var propagation: Propagation = .none

  enum Propagation: String, Sendable, CaseIterable {
    case none = "None"
    case hostToContainer = "HostToContainer"
    case bidirectional = "Bidirectional"
  }
}

struct VolumeManifest: Sendable, Equatable {
  var name: String
  var source: Source

  enum Source: Sendable, Equatable {
    case emptyDirectory
    case hostPath(String, HostPathType)
  }

  enum HostPathType: String, Sendable, CaseIterable {
    case unchecked = ""
    case directoryOrCreate = "DirectoryOrCreate"
    case directory = "Directory"
    case fileOrCreate = "FileOrCreate"
    case file = "File"
    case socket = "Socket"
    case characterDevice = "CharDevice"
    case blockDevice = "BlockDevice"
  }
}

/// CPU and memory of `limits` or of `requests`; nil where the manifest is silent.
struct ResourceAmounts: Sendable, Equatable {
  var milliCPU: Int64?
  var memoryBytes: Int64?
}

struct ContainerSecurityManifest: Sendable, Equatable {
  var runAsUser: Int64?
  var runAsGroup: Int64?
  var runAsNonRoot: Bool?
  var privileged = false
  var readOnlyRootFilesystem = false
  var allowPrivilegeEscalation: Bool?
  var addedCapabilities: [String] = []
  var droppedCapabilities: [String] = []
  var seccomp: SeccompManifest?
}

enum SeccompManifest: Sendable, Equatable {
  case runtimeDefault
  case unconfined
  case localhost(String)
}

struct PodDNSManifest: Sendable, Equatable {
  var nameservers: [String] = []
  var searches: [String] = []
  /// `name` or `name:value`, as resolv.conf writes them.
  var options: [String] = []
}
