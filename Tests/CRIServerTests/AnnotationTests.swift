import CDI
import CRIProtocol
import LinuxSystem
import RuntimeModel
import ShimProtocol
import Testing

@testable import CRIServer

/// V7, D13: what a container becomes is the same with and without annotations, labels and whatever else people write
/// beside a request; the one prefix that counts is `RequestedDevices.annotation`.
@Suite struct AnnotationTests {
  /// What other runtimes and their tools listen to (CRI-O, containerd, runc, crun, podman, Kata, gVisor, CDI), and ours.
  private static let keys = [
    "io.kubernetes.cri-o.userns-mode", "io.kubernetes.cri-o.Devices", "io.kubernetes.cri-o.ShmSize",
    "io.kubernetes.cri-o.UnifiedCgroup.main", "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw",
    "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel", "io.kubernetes.cri-o.umask", "io.kubernetes.cri-o.LinkLogs",
    "io.kubernetes.cri-o.seccompNotifierAction", "seccomp-profile.kubernetes.cri-o.io",
    "seccomp-profile.kubernetes.cri-o.io/main", "irq-load-balancing.crio.io", "cpu-load-balancing.crio.io",
    "cpu-quota.crio.io", "cpu-shared.crio.io/main", "cpu-c-states.crio.io", "cpu-freq-governor.crio.io",
    "disable-fips.crio.io", "platform-runtime-path.crio.io", "pod-linux-overhead.crio.io",
    "pod-linux-resources.crio.io",
    "io.containerd.cri.runtime-handler", "io.containerd.runc.v2.group", "io.kubernetes.cri.untrusted-workload",
    "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id", "io.kubernetes.cri.image-name",
    "io.kubernetes.cri.blockio-class", "io.kubernetes.cri.rdt-class", "containerd.io/restart.loguri",
    "containerd.io/restart.status", "org.systemd.property.ExecStartPre", "org.systemd.property.CPUWeight",
    "run.oci.handler", "run.oci.hooks.stderr", "run.oci.systemd.subgroup", "run.oci.seccomp.receiver",
    "run.oci.mount_context_type", "run.oci.keep_original_groups", "run.oci.delegate-cgroup", "run.oci.pidfd_receiver",
    "io.podman.annotations.privileged", "io.podman.annotations.userns", "io.podman.annotations.seccomp",
    "io.podman.annotations.label", "io.podman.annotations.ulimit", "io.podman.annotations.cpuset",
    "io.katacontainers.config.hypervisor.path", "io.katacontainers.config_path", "dev.gvisor.spec.mount.x.type",
    "dev.gvisor.internal.seccomp-notify", "container.apparmor.security.beta.kubernetes.io/main",
    "container.seccomp.security.alpha.kubernetes.io/main", "seccomp.security.alpha.kubernetes.io/pod",
    "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth", "cdi.k8s.io", "cdi.k8s.iox/a", "CDI.k8s.io/a",
    "x.cdi.k8s.io/a", "swiftlet.io/isolation-group", "swiftlet.io/privileged", "swiftlet/cdi.k8s.io/a",
  ]

  private static func request(
    _ change: (inout Runtime_V1_ContainerConfig) -> Void
  ) throws -> Swiftlet_Shim_V1_StartRequest {
    var config = Runtime_V1_ContainerConfig()
    config.command = ["true"]
    config.mounts = [.init()]
    config.mounts[0].containerPath = "/data"
    config.mounts[0].hostPath = "/tmp"
    config.devices = [.init()]
    config.devices[0].hostPath = "/dev/zero"
    config.devices[0].permissions = "r"
    change(&config)
    #expect(try RequestedDevices(config).names.isEmpty)
    return try ContainerSpec(config, in: surroundings).request
  }

  private static let id = Identifier.random()
  private static var surroundings: ContainerSpec.Surroundings {
    get throws {
      ContainerSpec.Surroundings(
        containerID: id, image: .init(), users: UserDatabase(passwd: nil, group: nil),
        sandboxNamespaces: try NamespaceChoice(.init(), field: "options", isSandbox: true), sandboxIsPrivileged: false,
        hostname: "h",
        files: MountPlan.SandboxFiles(hosts: "/r/hosts", hostname: "/r/hostname", resolvConf: "/r/resolv"),
        rootMountpoint: "/r/rootfs", logDirectory: "",
        cgroup: CgroupHierarchy(controllers: [:], unifiedRoot: "/cg").cgroup(at: "/p/c"), availableCapabilities: .none,
        hostMounts: HostMounts(mountinfo: ""), hostDevices: HostDevices())
    }
  }

  @Test func nobodysAnnotationsChangeAContainer() throws {
    #expect(Self.keys.count > 60)
    let plain = try Self.request { _ in }
    for value in [
      "true", "/dev/sda:/dev/sda:rwm", "vendor.com/class=name", "localhost//etc/passwd", "binary:///bin/sh",
    ] {
      let loud = try Self.request { config in
        let all = Dictionary(Self.keys.map { ($0, value) }, uniquingKeysWith: { $1 })
        config.annotations = all
        config.labels = all
        config.image.annotations = all
        config.image.runtimeHandler = value
        config.mounts[0].image.annotations = all
      }
      #expect(loud == plain)
    }
  }
}
