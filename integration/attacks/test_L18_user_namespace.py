"""L18 and L25 in a pod with a user namespace: its root, with every capability there, takes away or weakens no mount."""

import os

import pytest

from lib.cri import SLEEPER, security
from lib.stubs import pb
from test_userns import mapped, run_pod

MASKED = ["/proc/kcore", "/proc/keys", "/proc/scsi", "/sys/firmware", "/etc/group"]
READONLY = ["/proc/sys", "/proc/irq", "/tmp"]
ADMIN = pb.Capability(add_capabilities=["ALL"])


@pytest.fixture
def container(cri, tmp_path):
    """With all capabilities of its user namespace and no seccomp, beside a volume that is read-only."""
    pod = run_pod(cri)
    return pod.run(SLEEPER, mounts=[mapped(tmp_path, "/ro", readonly=True)],
                   linux=security(capabilities=ADMIN, masked_paths=MASKED, readonly_paths=READONLY))


def test_masks_are_locked(container):
    container.shell("mount -t tmpfs none /mnt 2>/dev/null || mkdir -p /mnt && mount -t tmpfs none /mnt && umount /mnt")
    for path in ("/etc/group", "/proc/kcore", "/proc/keys", "/proc/sys", "/tmp", "/sys", "/proc", "/ro", "/dev/null"):
        answer = container.execute("umount", path)
        assert answer.exit_code != 0, f"{path} was unmounted"
        answer = container.execute("umount", "-l", path)
        assert answer.exit_code != 0, f"{path} was detached"
    assert container.shell("cat /etc/group 2>/dev/null | wc -c") == "0\n"


def test_read_only_stays(container):
    for path in ("/ro", "/proc/sys", "/tmp", "/sys"):
        for options in ("remount,rw", "remount,bind,rw"):
            assert container.execute("mount", "-o", options, "none", path).exit_code != 0, (path, options)
    for command in ("touch /ro/x", "touch /tmp/x", "echo 1 > /proc/sys/kernel/msgmax", "mkdir /sys/x"):
        assert container.execute("sh", "-c", command).exit_code != 0, command


def test_nor_in_a_namespace_below(container):
    """A new user and mount namespace has copies of the mounts, as locked as these; a new procfs would show what is
    masked, so there is none (mount_too_revealing)."""
    for script in ("umount /etc/group", "umount -l /proc/kcore", "mount -o remount,bind,rw none /ro",
                   "mount -t proc none /proc"):
        answer = container.execute("unshare", "-U", "-r", "-m", "sh", "-c", script)
        assert answer.exit_code != 0, script
    container.shell("unshare -U -r -m true")


def test_a_cgroup_mount_of_its_own_gives_no_way_out(container):
    """With every capability the kernel lets it mount what its cgroup namespace shows; nothing there is its own, and
    release_agent is where it cannot see (CVE-2022-0492)."""
    if container.execute("sh", "-c", "mkdir -p /mnt; mount -t cgroup -o memory none /mnt").exit_code:
        assert os.path.exists("/sys/fs/cgroup/cgroup.controllers"), "v1 is there, and was not attacked"
        return  # a node with v2 alone has none of these files
    for script in ("echo /x > /mnt/release_agent", "echo 1 > /mnt/notify_on_release",
                   "mkdir /mnt/x && [ -e /mnt/x/tasks ]",
                   "echo 1048576 > /mnt/memory.limit_in_bytes", "mount -t cgroup -o rdma,name=new none /mnt"):
        assert container.execute("sh", "-c", script).exit_code != 0, script


def test_an_ordinary_container_gets_no_further_namespaces(cri):
    pod = run_pod(cri)
    container = pod.run(SLEEPER, linux=security(seccomp=pb.SecurityProfile()))
    for command in (["unshare", "-U", "-r", "-m", "true"], ["unshare", "-m", "true"], ["unshare", "-n", "true"],
                    ["mount", "-t", "tmpfs", "none", "/tmp"], ["umount", "/proc"]):
        assert container.execute(*command).exit_code != 0, command


def test_nothing_of_the_node_by_proc(container, canary):
    """Neither descriptors nor links of other processes lead out, and what shows the node's ids is not ours."""
    assert container.shell("ls -l /proc/1/fd | grep -v -e pipe: -e /dev/null -e total | wc -l") == "0\n"
    for command in ("echo x > /proc/sys/kernel/core_pattern", "echo 1 > /proc/sys/kernel/sysrq",
                    "echo 1 > /proc/1/oom_score_adj; [ $(cat /proc/1/oom_score_adj) = -1000 ]",
                    "cat /proc/kcore | head -c 1 | grep .", "echo 0 0 1 > /proc/1/uid_map",
                    "nsenter -t 1 -U true"):
        assert container.execute("sh", "-c", command).exit_code != 0, command
