import ArgumentParser
import CRIProtocol
import Foundation
import SwiftProtobuf
import Testing

@testable import CRIClient

@Suite struct RequestTests {
  static let plan = PodPlan(
    uid: "uid-1", logRoot: "/logs", volumeRoot: "/volumes", nodeResolver: "", nodeMemoryBytes: 16 << 30)

  static let seed = """
    apiVersion: v1
    kind: Pod
    metadata:
      name: nginx-pausetest
      labels:
        webserver: nginx:1.21
    spec:
      containers:
      - name: web
        image: nginx
    """

  static let image = Runtime_V1_Image.with { $0.id = "sha256:abc" }

  static func container(
    _ fields: String, spec: String = "", image: Runtime_V1_Image = image
  ) throws
    -> Runtime_V1_ContainerConfig
  {
    let pod = try ManifestTests.parse(ManifestTests.pod("\(spec)\n  containers: [{name: c, image: i\(fields)}]"))
    return try ContainerRequest.config(try #require(pod.containers.first), in: pod, image: image, plan)
  }

  /// The requests of the project's first pod, as protobuf's JSON.
  @Test func theSeedManifest() throws {
    let document = try #require(try ManifestParser.parse(Self.seed, file: "seed").documents.first)
    let sandbox = SandboxRequest.config(document.pod, Self.plan, manifest: document.canonical)
    #expect(
      try Value(message: sandbox).json(compact: true) == #"""
        {"annotations":{"swiftlet/log-directory":"/logs/default_nginx-pausetest_uid-1",\#
        "swiftlet/manifest":"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"labels\":{\"webserver\":\"n\#
        ginx:1.21\"},\"name\":\"nginx-pausetest\"},\"spec\":{\"containers\":[{\"image\":\"nginx\",\"name\":\"web\#
        \"}]}}","swiftlet/volume-directory":"/volumes/uid-1"},"hostname":"nginx-pausetest",\#
        "labels":{"io.kubernetes.pod.name":"nginx-pausetest","io.kubernetes.pod.namespace":"default",\#
        "io.kubernetes.pod.uid":"uid-1","webserver":"nginx:1.21"},\#
        "linux":{"securityContext":{"namespaceOptions":{"pid":"CONTAINER"},"seccomp":{}}},\#
        "logDirectory":"/logs/default_nginx-pausetest_uid-1","metadata":{"name":"nginx-pausetest",\#
        "namespace":"default","uid":"uid-1"}}
        """#)
    let web = try #require(document.pod.containers.first)
    let container = try ContainerRequest.config(web, in: document.pod, image: Self.image, Self.plan)
    #expect(
      try Value(message: container).json(compact: true) == #"""
        {"annotations":{"io.kubernetes.container.restartCount":"0",\#
        "io.kubernetes.pod.terminationGracePeriod":"30"},"image":{"image":"sha256:abc",\#
        "userSpecifiedImage":"nginx"},"labels":{"io.kubernetes.container.name":"web",\#
        "io.kubernetes.pod.name":"nginx-pausetest","io.kubernetes.pod.namespace":"default",\#
        "io.kubernetes.pod.uid":"uid-1"},"linux":{"resources":{"cpuPeriod":100000,"cpuShares":2,\#
        "oomScoreAdj":1000},"securityContext":{"capabilities":{},"maskedPaths":["/proc/asound","/proc/acpi",\#
        "/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list",\#
        "/proc/timer_stats","/proc/sched_debug","/proc/scsi","/sys/firmware","/sys/devices/virtual/powercap"],\#
        "namespaceOptions":{"pid":"CONTAINER"},"readonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys",\#
        "/proc/sysrq-trigger"],"seccomp":{}}},"logPath":"web/0.log","metadata":{"name":"web"}}
        """#)
  }

  @Test(arguments: [(0, 2), (1, 2), (100, 102), (1000, 1024), (500_000, 262_144)] as [(Int64, Int64)])
  func shares(milliCPU: Int64, expected: Int64) {
    #expect(Resources.shares(milliCPU: milliCPU) == expected)
  }

  @Test(arguments: [(0, 0), (5, 1000), (500, 50_000), (2000, 200_000)] as [(Int64, Int64)])
  func quotas(milliCPU: Int64, expected: Int64) {
    #expect(Resources.quota(milliCPU: milliCPU) == expected)
  }

  @Test func resources() throws {
    let burstable = try Self.container(
      ", resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 250m, memory: 800Mi}}")
    #expect(burstable.linux.resources.cpuShares == 256 && burstable.linux.resources.cpuQuota == 100_000)
    #expect(burstable.linux.resources.memoryLimitInBytes == 1 << 30)
    // 1000 - 1000 * 800 MiB / 16 GiB
    #expect(burstable.linux.resources.oomScoreAdj == 952)
    let guaranteed = try Self.container(", resources: {limits: {cpu: 1, memory: 1Gi}}")
    #expect(guaranteed.linux.resources.cpuShares == 1024 && guaranteed.linux.resources.oomScoreAdj == -997)
    #expect(try Self.container("").linux.resources.oomScoreAdj == 1000)
    #expect(try Self.container(", resources: {requests: {cpu: 1m}}").linux.resources.oomScoreAdj == 999)
  }

  @Test(arguments: [
    ("", [0, 1, 0]), ("  hostNetwork: true", [2, 1, 0]), ("  shareProcessNamespace: true", [0, 0, 0]),
    ("  hostPID: true\n  hostIPC: true", [0, 2, 2]),
  ])
  func namespaces(spec: String, expected: [Int]) throws {
    let options = try Self.container("", spec: spec).linux.securityContext.namespaceOptions
    #expect([options.network, options.pid, options.ipc].map(\.rawValue) == expected)
  }

  @Test func theHostsNetworkHasNeitherNameNorPorts() throws {
    let pod = try ManifestTests.parse(
      ManifestTests.pod("  hostNetwork: true\n  containers: [{name: c, image: i, ports: [{containerPort: 80}]}]"))
    let config = SandboxRequest.config(pod, Self.plan)
    #expect(config.hostname.isEmpty && config.portMappings.isEmpty)
  }

  @Test func aLongNameIsCutToAHostname() throws {
    var pod = try ManifestTests.parse(ManifestTests.pod("  containers: [{name: c, image: i}]"))
    pod.name = String(repeating: "a", count: 62) + ".bc"
    #expect(SandboxRequest.config(pod, Self.plan).hostname == String(repeating: "a", count: 62))
  }

  @Test func dollarsAreExpanded() throws {
    let fields =
      ", command: [sh, \"$(A)\"], args: [\"$$(A)\", \"$(B)/$(NO)\", \"$\", \"a$(\"], "
      + "env: [{name: A, value: x}, {name: B, value: \"$(A)y\"}]"
    let config = try Self.container(fields)
    #expect(config.command == ["sh", "x"])
    #expect(config.args == ["$(A)", "xy/$(NO)", "$", "a$("])
    #expect(config.envs.map { String(decoding: $0.value, as: UTF8.self) } == ["x", "xy"])
    #expect(Expansion.expand(Expansion.escape("$(A) $$ $"), with: ["A": "no"]) == "$(A) $$ $")
  }

  @Test func volumes() throws {
    let config = try Self.container(
      ", volumeMounts: [{name: d, mountPath: /d}, "
        + "{name: h, mountPath: /h, readOnly: true, mountPropagation: Bidirectional}]",
      spec: "  volumes: [{name: d, emptyDir: {}}, {name: h, hostPath: {path: /srv}}]")
    #expect(config.mounts.map(\.hostPath) == ["/volumes/uid-1/volumes/d", "/srv"])
    #expect(config.mounts.map(\.readonly) == [false, true])
    #expect(config.mounts.map(\.propagation) == [.propagationPrivate, .propagationBidirectional])
  }

  @Test func privilegedHidesNothing() throws {
    let context = try Self.container(", securityContext: {privileged: true}").linux.securityContext
    #expect(context.privileged && context.maskedPaths.isEmpty && context.readonlyPaths.isEmpty)
    #expect(context.seccomp.profileType == .unconfined)
    let pod = try ManifestTests.parse(
      ManifestTests.pod("  containers: [{name: c, image: i, securityContext: {privileged: true}}]"))
    #expect(SandboxRequest.config(pod, Self.plan).linux.securityContext.privileged)
  }

  @Test func theImagesUserIsTaken() throws {
    let numbered = Runtime_V1_Image.with { $0.uid.value = 101 }
    #expect(try Self.container("", image: numbered).linux.securityContext.runAsUser.value == 101)
    let named = Runtime_V1_Image.with { $0.username = "www" }
    #expect(try Self.container("", image: named).linux.securityContext.runAsUsername == "www")
    let context = try Self.container(", securityContext: {runAsGroup: 9}").linux.securityContext
    #expect(context.hasRunAsUser && context.runAsUser.value == 0 && context.runAsGroup.value == 9)
  }

  @Test(arguments: [
    ("", Runtime_V1_Image(), false), (", runAsUser: 0", Runtime_V1_Image(), false),
    (", runAsUser: 7", Runtime_V1_Image(), true),
    ("", Runtime_V1_Image.with { $0.uid.value = 0 }, false), ("", Runtime_V1_Image.with { $0.uid.value = 7 }, true),
    ("", Runtime_V1_Image.with { $0.username = "www" }, false),
  ])
  func nonRoot(field: String, image: Runtime_V1_Image, isAllowed: Bool) throws {
    let fields = ", securityContext: {runAsNonRoot: true\(field)}"
    if isAllowed {
      #expect(try Self.container(fields, image: image).linux.securityContext.runAsUser.value == 7)
    } else {
      #expect { try Self.container(fields, image: image) } throws: {
        ($0 as? ClientError)?.why?.hasPrefix("runAsNonRoot is set") ?? false
      }
    }
  }

  @Test func namesAreResolvedAsTheNodeDoesAndMore() throws {
    var plan = Self.plan
    plan.nodeResolver = "# c\nnameserver 1.1.1.1\nsearch a b\noptions ndots:5 rotate\n"
    var pod = try ManifestTests.parse(ManifestTests.pod("  containers: [{name: c, image: i}]"))
    #expect(!SandboxRequest.config(pod, plan).hasDnsConfig)
    pod.dnsConfig = PodDNSManifest(nameservers: ["9.9.9.9"], searches: ["b", "c"], options: ["ndots:2"])
    let added = SandboxRequest.config(pod, plan).dnsConfig
    #expect(added.servers == ["1.1.1.1", "9.9.9.9"] && added.searches == ["a", "b", "c"])
    #expect(added.options == ["rotate", "ndots:2"])
    pod.dnsPolicy = PodManifest.DNSPolicy.none
    #expect(SandboxRequest.config(pod, plan).dnsConfig.servers == ["9.9.9.9"])
  }

  @Test func aRunsPod() throws {
    let command = try #require(
      try Swiftlet.parseAsRoot([
        "run", "busybox", "--name", "x", "-e", "A=$(B)", "-p", "127.0.0.1:8080:80/udp", "-v", "/a:/b:ro", "-u", "7:8",
        "--memory", "32Mi", "--cpus", "0.5", "--", "echo", "$HOME",
      ]) as? Run)
    let pod = try command.manifest()
    let config = try ContainerRequest.config(try #require(pod.containers.first), in: pod, image: Self.image, Self.plan)
    #expect(config.args == ["echo", "$HOME"] && config.command.isEmpty)
    #expect(config.envs.map { String(decoding: $0.value, as: UTF8.self) } == ["$(B)"])
    #expect(config.mounts.map(\.hostPath) == ["/a"] && config.mounts.map(\.readonly) == [true])
    #expect(config.linux.resources.memoryLimitInBytes == 33_554_432 && config.linux.resources.cpuQuota == 50_000)
    #expect(config.linux.securityContext.runAsGroup.value == 8)
    let mapping = try #require(SandboxRequest.config(pod, Self.plan).portMappings.first)
    #expect(mapping.hostIp == "127.0.0.1" && mapping.hostPort == 8080 && mapping.protocol == .udp)
  }

  @Test(arguments: ["docker.io/library/nginx:1.21", "My_App@sha256:00", "x/__:y"])
  func generatedNamesAreNames(image: String) {
    #expect(Names.labelTrouble(Run.generatedName(image)) == nil)
  }
}
