/// What a pod's requests need to know besides its manifest.
struct PodPlan: Sendable, Equatable {
  /// The pod's uid: ours, random, since no API server gives one.
  var uid: String
  /// The directory below which each pod has its log directory.
  var logRoot: String
  /// The directory below which each pod's `emptyDir` volumes live.
  var volumeRoot: String
  /// The text of the node's resolv.conf, for a pod that adds to it.
  var nodeResolver = ""
  /// The node's memory, for the out-of-memory scores of burstable containers.
  var nodeMemoryBytes: Int64 = 0

  static let defaultLogRoot = "/var/log/swiftlet/pods"
  static let defaultVolumeRoot = "/var/lib/swiftlet-client/pods"

  /// `<ns>_<name>_<uid>`, kubelet's form.
  func logDirectory(_ pod: PodManifest) -> String { "\(logRoot)/\(pod.namespace)_\(pod.name)_\(uid)" }

  var volumeDirectory: String { "\(volumeRoot)/\(uid)" }

  func emptyDirectory(_ volume: String) -> String { "\(volumeDirectory)/volumes/\(volume)" }
}

/// Labels and annotations by which kubelet, crictl and we find things again.
enum Marks {
  static let podName = "io.kubernetes.pod.name"
  static let podNamespace = "io.kubernetes.pod.namespace"
  static let podUID = "io.kubernetes.pod.uid"
  static let containerName = "io.kubernetes.container.name"
  static let restartCount = "io.kubernetes.container.restartCount"
  /// Seconds, on containers; kubelet's name for it.
  static let gracePeriod = "io.kubernetes.pod.terminationGracePeriod"
  /// The manifest that a sandbox was made from, as compact JSON.
  static let manifest = "swiftlet/manifest"
  /// The directories that `play` and `run` made for a sandbox and that go with it.
  static let volumeDirectory = "swiftlet/volume-directory"
  static let logDirectory = "swiftlet/log-directory"
}
