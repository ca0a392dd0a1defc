"""Keys of labels and annotations that some runtime obeys, or obeyed: none is ours (ATTACKS V7)."""

from __future__ import annotations

CANARY = "binary:///canary?x=1"
KEYS: dict[str, str] = {
    # containerd
    "containerd.io/restart.status": "running", "containerd.io/restart.loguri": CANARY,
    "containerd.io/restart.policy": "always", "containerd.io/restart.count": "9",
    "containerd.io/restart.logpath": "/canary", "containerd.io/snapshot.ref": "sha256:0",
    "containerd.io/snapshot/remote": "true", "containerd.io/gc.root": "x",
    "containerd.io/gc.expire": "2001-01-01T00:00:00Z", "containerd.io/uncompressed": "sha256:0",
    "containerd.io/distribution.source.docker.io": "library/x", "io.containerd.runc.v2.group": "x",
    "io.containerd.image.config.stop-signal": "SIGKILL", "io.cri-containerd.kind": "sandbox",
    "io.cri-containerd.image": "managed",
    # CRI-O and podman
    "io.kubernetes.cri-o.userns-mode": "auto", "io.kubernetes.cri-o.Devices": "/dev/mem:/dev/mem:rwm",
    "io.kubernetes.cri-o.ShmSize": "1Gi", "io.kubernetes.cri-o.UnifiedCgroup.main": "memory.high=max",
    "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw": "true", "io.kubernetes.cri-o.umask": "000",
    "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel": "true", "io.kubernetes.cri-o.LinkLogs": "/canary",
    "io.kubernetes.cri-o.PodLinuxOverhead": "{}", "io.kubernetes.cri-o.DisableFIPS": "true",
    "io.kubernetes.cri-o.MountPoint": "/", "io.kubernetes.cri-o.Volumes": '[{"host_path":"/","container_path":"/h"}]',
    "io.kubernetes.cri-o.TrustedSandbox": "true", "io.kubernetes.cri-o.RuntimeHandler": "privileged",
    "io.kubernetes.cri-o.SandboxID": "x", "io.kubernetes.cri-o.annotations.checkpoint.name": "x",
    "seccomp-profile.kubernetes.cri-o.io": "unconfined", "seccomp-profile.kubernetes.cri-o.io/main": "unconfined",
    "cpu-load-balancing.crio.io": "disable", "cpu-quota.crio.io": "disable", "irq-load-balancing.crio.io": "disable",
    "io.podman.annotations.privileged": "TRUE", "io.podman.annotations.userns": "host",
    "io.podman.annotations.seccomp": "unconfined", "io.podman.annotations.volumes-from": "x",
    "io.podman.annotations.label": "disable", "io.podman.annotations.kube.image.automount/main": "x",
    # OCI runtimes
    "run.oci.keep_original_groups": "1", "run.oci.systemd.subgroup": "x", "run.oci.delegate-cgroup": "../..",
    "run.oci.seccomp.receiver": "/canary", "run.oci.seccomp_fail_unknown_syscall": "0",
    "run.oci.hooks.stderr": "/canary", "run.oci.handler": "krun", "run.oci.mount_context_type": "x",
    "run.oci.pidfd_receiver": "/canary", "module.wasm.image/variant": "compat-smart", "krun.cpus": "9",
    "org.systemd.property.CollectMode": "'inactive'", "org.systemd.property.ExecStart": CANARY,
    "org.systemd.property.DeviceAllow": "/dev/mem rwm", "org.criu.config": "/canary",
    "org.criu.checkpoint.container.name": "x", "io.katacontainers.config.hypervisor.path": "/canary",
    "io.katacontainers.config_path": "/canary", "dev.gvisor.spec.mount.x": "/", "nvidia.com/gpu": "all",
    # Kubernetes' own old ones
    "container.apparmor.security.beta.kubernetes.io/main": "localhost/x",
    "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
    "container.seccomp.security.alpha.kubernetes.io/main": "unconfined",
    "security.alpha.kubernetes.io/sysctls": "kernel.msgmax=1", "io.kubernetes.pod.terminationGracePeriod": "0",
    # ours, and what only looks like a key that means something
    "swiftlet.io/isolation-group/": "x", "swiftlet.io/privileged": "true", "swiftlet.io/seccomp": "unconfined",
    "xcdi.k8s.io/devices": "vendor.com/class=all", "CDI.K8S.IO/devices": "vendor.com/class=all",
    "cdi.k8s.io.evil/devices": "vendor.com/class=all", "Kubernetes.io/ingress-bandwidth": "1k",
    "kubernetes.io/ingress-bandwidth ": "1k", "kubernetes.io/ingress-bandwidthx": "1k",
}
