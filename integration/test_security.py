"""Capabilities, no_new_privs, seccomp, masked and read-only paths, read-only root, privileged."""

import grpc
import pytest

from lib.cri import SLEEPER, security
from lib.stubs import pb

NUMBERS = {name: number for number, name in enumerate(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE".split())}
DEFAULT = set("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
              "SYS_CHROOT KILL AUDIT_WRITE".split())
KUBELET_MASKED = ["/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                  "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                  "/sys/devices/virtual/powercap"]
KUBELET_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def sets(pod, **fields) -> dict[str, set[str]]:
    """The capability sets of a container's process, by name."""
    text = pod.output("grep ^Cap /proc/self/status", linux=security(**fields))
    found = {}
    for line in text.splitlines():
        key, mask = line.split(":\t")
        found[key] = {name for name, number in NUMBERS.items() if int(mask, 16) >> number & 1}
    return found


def test_the_default_capabilities(pod):
    found = sets(pod)
    assert found["CapBnd"] == found["CapEff"] == found["CapPrm"] == DEFAULT
    assert not found["CapInh"] and not found["CapAmb"]


@pytest.mark.parametrize("add, drop, expected", [
    (["NET_ADMIN"], [], DEFAULT | {"NET_ADMIN"}),
    (["CAP_NET_ADMIN", "sys_time"], [], DEFAULT | {"NET_ADMIN", "SYS_TIME"}),
    ([], ["NET_RAW", "MKNOD"], DEFAULT - {"NET_RAW", "MKNOD"}),
    ([], ["ALL"], set()),
    (["CHOWN"], ["ALL"], {"CHOWN"}),
])
def test_added_and_dropped(pod, add, drop, expected):
    found = sets(pod, capabilities=pb.Capability(add_capabilities=add, drop_capabilities=drop))
    assert found["CapBnd"] == found["CapEff"] == found["CapPrm"] == expected


def test_all_means_all_the_node_has(pod):
    found = sets(pod, capabilities=pb.Capability(add_capabilities=["ALL"]))["CapBnd"]
    assert DEFAULT | {"SYS_ADMIN", "NET_ADMIN"} <= found


def test_an_ordinary_user_has_none_but_the_bounding_set(pod):
    found = sets(pod, run_as_user=pb.Int64Value(value=1000))
    assert not found["CapEff"] and not found["CapPrm"] and found["CapBnd"] == DEFAULT


def test_an_unknown_capability_is_refused(pod):
    refused = pod.create_refused(["true"], linux=security(capabilities=pb.Capability(add_capabilities=["NOT_ONE"])))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "NOT_ONE" in refused.text


@pytest.mark.parametrize("wanted", [False, True])
def test_no_new_privs(pod, wanted):
    text = pod.output("grep NoNewPrivs /proc/self/status", linux=security(no_new_privs=wanted))
    assert text == f"NoNewPrivs:\t{int(wanted)}\n"


SECCOMP = "grep ^Seccomp: /proc/self/status"


@pytest.mark.parametrize("fields, mode", [
    ({}, 0), (dict(seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)), 0),
    (dict(seccomp=pb.SecurityProfile()), 2), (dict(seccomp_profile_path="runtime/default"), 2),
    (dict(seccomp_profile_path="unconfined"), 0),
])
def test_seccomp_mode(pod, fields, mode):
    assert pod.output(SECCOMP, linux=security(**fields)) == f"Seccomp:\t{mode}\n"


def test_the_default_profile_forbids_what_it_should_and_allows_the_rest(pod):
    container = pod.run(SLEEPER, linux=security(seccomp=pb.SecurityProfile()))
    for command in (["unshare", "-U", "true"], ["unshare", "-n", "true"], ["mount", "-t", "tmpfs", "x", "/tmp"],
                    ["chroot", "/", "reboot", "-f", "-n"], ["swapoff", "/x"], ["insmod", "/bin/busybox"]):
        answer = container.execute(*command)
        assert answer.exit_code != 0, command
    container.shell("set -e; ls / > /dev/null; sleep 0.01; ping -c1 -W30 127.0.0.1 > /dev/null; echo x > /tmp/x; "
                    "mknod /tmp/n c 1 3")


def test_seccomp_alone_forbids_a_new_user_namespace(pod):
    """Unprivileged user namespaces are open on this kernel or not: with the profile they are not."""
    container = pod.run(SLEEPER, linux=security(
        seccomp=pb.SecurityProfile(), run_as_user=pb.Int64Value(value=1000)))
    answer = container.execute("unshare", "-U", "true")
    assert answer.exit_code != 0 and b"not permitted" in answer.stderr


def test_seccomp_for_a_user_without_privileges_needs_no_no_new_privs(pod):
    linux = security(seccomp=pb.SecurityProfile(), run_as_user=pb.Int64Value(value=1000))
    assert pod.output(SECCOMP + "; grep NoNewPrivs /proc/self/status", linux=linux) == "Seccomp:\t2\nNoNewPrivs:\t0\n"


def test_a_profile_that_is_not_there_is_refused(pod):
    linux = security(seccomp=pb.SecurityProfile(
        profile_type=pb.SecurityProfile.Localhost, localhost_ref="/no/such/profile.json"))
    refused = pod.create_refused(["true"], linux=linux)
    assert refused.code != grpc.StatusCode.OK and refused.text


def test_masked_and_read_only_paths(pod):
    container = pod.run(SLEEPER, linux=security(masked_paths=KUBELET_MASKED + ["/etc/group", "/no/such/path"],
                                                readonly_paths=KUBELET_READONLY + ["/tmp", "/neither/this"]))
    assert container.shell("cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c") == "0\n"
    assert container.shell("ls /sys/firmware | wc -l; cat /etc/group 2>/dev/null | wc -c") == "0\n0\n"
    assert container.execute("touch", "/tmp/x").exit_code == 1
    assert b"ead-only" in container.execute("sh", "-c", "echo 1 > /proc/sys/kernel/printk").stderr
    assert container.execute("sh", "-c", "echo h > /proc/sysrq-trigger").exit_code != 0  # read-only, or not built in
    assert container.execute("umount", "/proc/kcore").exit_code != 0


def test_a_read_only_path_is_so_with_what_is_mounted_below(pod, tmp_path):
    (tmp_path / "sub").mkdir()
    mounts = [pb.Mount(container_path="/v", host_path=str(tmp_path)),
              pb.Mount(container_path="/v/sub", host_path=str(tmp_path))]
    container = pod.run(SLEEPER, mounts=mounts, linux=security(readonly_paths=["/v"]))
    for path in ("/v/x", "/v/sub/x"):
        assert b"ead-only" in container.execute("touch", path).stderr, path


def test_sys_is_read_only(pod):
    container = pod.run(SLEEPER)
    assert b"ead-only" in container.execute("sh", "-c", "echo 1 > /sys/kernel/uevent_seqnum; mkdir /sys/x").stderr


def test_a_read_only_root_leaves_mounts_alone(pod, tmp_path):
    container = pod.run(SLEEPER, linux=security(readonly_rootfs=True),
                        mounts=[pb.Mount(container_path="/data", host_path=str(tmp_path))])
    for path in ("/x", "/tmp/x", "/etc/x", "/bin/x", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        answer = container.execute("touch", path)
        assert answer.exit_code == 1 and b"ead-only" in answer.stderr, path
    container.shell("touch /data/x; touch /dev/shm/x")
    assert (tmp_path / "x").exists()


def test_privileged_needs_a_privileged_pod(cri, pod):
    refused = pod.create_refused(["true"], linux=security(privileged=True))
    assert refused.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
    assert "privileged" in refused.text


def test_privileged(cri):
    context = pb.LinuxSandboxSecurityContext(
        privileged=True, namespace_options=pb.NamespaceOption(pid=pb.CONTAINER))
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))
    container = pod.run(SLEEPER, linux=security(
        privileged=True, seccomp=pb.SecurityProfile(), masked_paths=["/proc/keys"], readonly_paths=["/proc/sys"]))
    assert container.shell(SECCOMP) == "Seccomp:\t0\n"
    assert "SYS_ADMIN" in sets(pod, privileged=True)["CapEff"]
    container.shell("mount -t tmpfs none /tmp && umount /tmp")
    mounts = {line.split()[4]: line.split()[5].split(",") for line in
              container.shell("cat /proc/self/mountinfo").splitlines()}
    assert not {"/proc/keys", "/proc/sys"} & mounts.keys() and "rw" in mounts["/sys"]  # neither masked nor read-only


def test_devices_are_the_few_that_everybody_needs(pod):
    container = pod.run(SLEEPER)
    text = container.shell("cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty")
    assert text.splitlines() == ["null 1:3 666", "zero 1:5 666", "full 1:7 666", "random 1:8 666", "urandom 1:9 666",
                                 "tty 5:0 666"]
    text = container.shell("for n in ptmx fd stdin stdout stderr; do readlink /dev/$n; done")
    assert text.split() == [
        "pts/ptmx", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]
    assert "eth0" not in container.shell("ls /dev")


def test_a_device_that_was_made_cannot_be_opened(pod):
    """mknod is allowed by capability; the device cgroup forbids to read what it makes."""
    container = pod.run(SLEEPER)
    container.shell("mknod /tmp/mem c 1 1; mknod /tmp/null c 1 3")
    answer = container.execute("head", "-c", "1", "/tmp/mem")
    assert answer.exit_code != 0 and b"not permitted" in answer.stderr
    container.shell("cat /tmp/null")


def test_kernel_mounts_have_their_flags(pod):
    lines = pod.run(SLEEPER).shell("cat /proc/self/mountinfo").splitlines()
    mounts = {line.split()[4]: (set(line.split()[5].split(",")), line.split(" - ")[1].split()[0]) for line in lines}
    for path, kind, flags in [("/proc", "proc", {"nosuid", "nodev", "noexec"}),
                              ("/sys", "sysfs", {"nosuid", "nodev", "noexec", "ro"}),
                              ("/dev", "tmpfs", {"nosuid"}), ("/dev/pts", "devpts", {"nosuid", "noexec"}),
                              ("/dev/mqueue", "mqueue", {"nosuid", "nodev", "noexec"})]:
        assert path in mounts, sorted(mounts)
        assert mounts[path][1] == kind and flags <= mounts[path][0], (path, mounts[path])
    assert "relatime" not in mounts["/dev"][0] and "relatime" in mounts["/proc"][0]  # /dev is strictatime
    assert mounts["/"][1] == "overlay"
