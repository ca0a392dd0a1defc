"""The device program of a container's v2 group: what it allows, what it denies, and to whom."""

import os

from lib import wait
from lib.cgroups import removed
from lib.cri import SLEEPER, security
from lib.stubs import pb
from vm.cases.kernel import device_programs, group

# Devices that exist, and that root may open without any capability: only the program stands before them.
DISK, KERNEL_LOG = "/dev/vda", "/dev/kmsg"  # the log for writing alone
READ_DISK = "mknod /tmp/disk b {}; dd if=/tmp/disk of=/dev/null bs=512 count=1"


def number(path: str) -> str:
    device = os.stat(path).st_rdev
    return f"{os.major(device)} {os.minor(device)}"


def refused(container, script: str) -> bool:
    """Whether a script fails for want of permission."""
    answer = container.execute("sh", "-c", script)
    return answer.exit_code != 0 and b"not permitted" in answer.stderr


def test_nodes_may_be_made_and_only_the_usual_ones_opened(pod):
    container = pod.run(SLEEPER)
    assert len(device_programs(group(container))) == 1
    container.shell(f"mknod /tmp/disk b {number(DISK)}; mknod /tmp/log c {number(KERNEL_LOG)}; mknod /tmp/zero c 1 5")
    for script in ("echo x > /tmp/log", "dd if=/tmp/disk of=/dev/null count=1",
                   "dd if=/dev/zero of=/tmp/disk count=1 conv=notrunc"):
        assert refused(container, script), script
    container.shell("for name in null zero full random urandom; do dd if=/dev/$name of=/dev/null bs=1 count=1; done;"
                    "echo x > /dev/null; dd if=/tmp/zero of=/dev/null bs=1 count=1; test -c /dev/tty -a -e /dev/ptmx")


def test_a_device_is_given_with_its_permissions(pod):
    container = pod.run(SLEEPER, devices=[pb.Device(container_path="/dev/disk", host_path=DISK, permissions="r")])
    container.shell("dd if=/dev/disk of=/dev/null bs=512 count=1")
    assert refused(container, "dd if=/dev/zero of=/dev/disk bs=512 count=1 conv=notrunc")
    assert refused(container, f"mknod /tmp/log c {number(KERNEL_LOG)} && echo x > /tmp/log")


def test_without_the_m_of_permissions_the_node_is_there_all_the_same(pod):
    """The runtime makes the node; `m` is for the container's own mknod, which everybody has by default."""
    container = pod.run(SLEEPER, devices=[pb.Device(container_path="/dev/disk", host_path=DISK, permissions="w")])
    container.shell("test -b /dev/disk && dd if=/dev/null of=/dev/disk conv=notrunc")
    assert refused(container, "dd if=/dev/disk of=/dev/null bs=512 count=1")


def test_the_program_holds_for_commands_and_groups_below(pod):
    container = pod.run(SLEEPER)
    below = group(container) / "below"
    below.mkdir()
    try:
        assert device_programs(below) == []  # nothing of its own, and what is above it holds
        (below / "cgroup.procs").write_text(str(container.info()["pid"]))
        assert refused(container, READ_DISK.format(number(DISK)))
    finally:
        container.stop()
        wait.until(lambda: removed(below), "end of the group below")


def test_a_privileged_container_may_use_every_device(cri):
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(privileged=True)))
    container = pod.run(SLEEPER, linux=security(privileged=True))
    assert device_programs(group(container)) == []
    container.shell(READ_DISK.format(number(DISK)))
