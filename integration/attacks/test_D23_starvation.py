"""D23: a pod that takes all it can get of processes, memory and inodes does not stop the daemon (RUN-004).

Seen to fail with shims and containers left in the daemon's group, inside one that bounded them."""

import time

import pytest

from lib import cgroups, wait
from lib.cri import SLEEPER, resources
from lib.stubs import pb

MIB = 1 << 20
BOMBS = {
    # Each child of the loop starts another loop until nothing more can be started.
    "processes": "f() { f | f & }; while :; do f; done 2>/dev/null",
    "memory": "while :; do dd if=/dev/zero of=/dev/null bs=128M count=1; dd if=/dev/zero of=/dev/shm/$$ bs=1M; done",
    "inodes": "i=0; while :; do i=$((i+1)); : > /dev/shm/$i; done",
}


def used(path: str, bomb: str) -> bool:
    """Whether the bomb has gone off in the group."""
    if bomb == "processes":
        return int((cgroups.top("pids") / path.strip("/") / "pids.current").read_text()) > 20
    peak = "memory.peak" if cgroups.UNIFIED else "memory.max_usage_in_bytes"
    return int((cgroups.top("memory") / path.strip("/") / peak).read_text()) > 8 * MIB


@pytest.mark.parametrize("bomb", BOMBS)
def test_the_daemon_answers_throughout(cri, daemon, bomb):
    """Within a pod that has kubelet's limits."""
    path = f"{cri.cgroup_parent}/bombs"
    directories = cgroups.make(path)
    (cgroups.top("pids") / path.strip("/") / "pids.max").write_text("80")
    file = "memory.max" if cgroups.UNIFIED else "memory.limit_in_bytes"
    (cgroups.top("memory") / path.strip("/") / file).write_text(str(64 * MIB))
    try:
        pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=path))
        container = pod.run(["sh", "-c", BOMBS[bomb]], linux=resources(
            memory_limit_in_bytes=48 * MIB, cpu_period=100000, cpu_quota=60000))
        wait.until(lambda: used(path, bomb), f"{bomb} that the pod's group counts")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            cri.call("Version")
            assert cri.call("ListContainerStats").stats
        tasks = int((cgroups.top("pids") / path.strip("/") / "pids.current").read_text())
        assert tasks <= 80
        # Others of the node are not hindered, and the pod's end is one.
        assert cri.run_pod().run(SLEEPER).shell("echo fine") == "fine\n"
        container.stop(timeout=0)
        assert container.status().state == pb.CONTAINER_EXITED
        pod.remove()
        wait.until(lambda: not (cgroups.top("pids") / path.strip("/") / "cgroup.procs").read_text(), "its end")
    finally:
        cri.remove_all()
        cgroups.remove(directories)
