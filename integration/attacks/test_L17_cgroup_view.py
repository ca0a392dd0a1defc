"""L17: a container sees nothing of the node's cgroups but its own, and cannot write to that (CVE-2023-25809).

Seen to fail without the cgroup namespace (ShimCore, isolateCgroup): the groups' paths are in view then."""

import pytest

from lib.cgroups import UNIFIED
from lib.cri import SLEEPER
from lib.stubs import pb

ATTEMPTS = ["mkdir /sys/fs/cgroup/mine", "echo 1 > /sys/fs/cgroup/cgroup.procs", "echo max > /sys/fs/cgroup/memory.max",
            "echo 1 > /sys/fs/cgroup/cgroup.kill", "mount -o remount,rw /sys/fs/cgroup",
            "mount -t cgroup2 none /mnt", "mount -t cgroup -o memory none /mnt"]
# There is nothing to be made or written in sysfs, read-only or not, and no right to mount.
REFUSALS = [b"Read-only", b"not permitted", b"denied", b"nonexistent directory", b"No such file", b"can't find"]


@pytest.mark.parametrize("capability", ["", "SYS_ADMIN"])
def test_nothing_above_is_seen_and_nothing_is_written(pod, capability):
    """A node administrator who grants SYS_ADMIN grants mounting; even then no group but the container's is in view."""
    capabilities = pb.Capability(add_capabilities=[capability] if capability else [])
    security = pb.LinuxContainerSecurityContext(capabilities=capabilities)
    container = pod.run(SLEEPER, linux=pb.LinuxContainerConfig(security_context=security))
    lines = container.shell("cat /proc/self/cgroup").splitlines()
    assert lines and all(line.split(":", 2)[2] in ("/", "") or "/exec-" in line.split(":", 2)[2] for line in lines)
    assert not [line for line in lines if ".." in line or pod.id in line or container.id in line]
    tree = container.shell("find /sys/fs/cgroup | head -500")
    assert container.id not in tree and pod.id not in tree and "kubepods" not in tree
    if not UNIFIED:
        assert tree == "/sys/fs/cgroup\n"
    mounts = container.shell("cat /proc/self/mountinfo").splitlines()
    groups = [line for line in mounts if " - cgroup" in line]
    assert len(groups) == (1 if UNIFIED else 0)
    assert all(line.split()[3] == "/" and "ro" in line.split()[5].split(",") for line in groups)
    if not capability:
        container.shell("mkdir -p /mnt")
        for attempt in ATTEMPTS:
            answer = container.execute("sh", "-c", attempt)
            assert answer.exit_code != 0 and any(word in answer.stderr for word in REFUSALS), (attempt, answer.stderr)
    assert container.execute("sh", "-c", ATTEMPTS[0]).exit_code != 0
