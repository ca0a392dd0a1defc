"""Limits as the kernel has them, on cgroup v1, hybrid and v2."""

import os
import pathlib

import pytest

from lib.census import CGROUPS, controllers
from lib.cgroups import UNIFIED, group, value
from lib.cri import SLEEPER, resources, security
from lib.stubs import pb
from lib.trees import below
from test_userns import run_pod


def test_limits_are_in_the_files(daemon, pod):
    container = pod.run(SLEEPER, linux=resources(
        cpu_period=50000, cpu_quota=20000, cpu_shares=512, memory_limit_in_bytes=64 << 20))
    assert value(daemon, container, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    if UNIFIED:
        assert value(daemon, container, "cpu", "", "cpu.max") == "20000 50000"
        assert value(daemon, container, "cpu", "", "cpu.weight") == "59"
    else:
        assert value(daemon, container, "cpu", "cpu.cfs_period_us", "") == "50000"
        assert value(daemon, container, "cpu", "cpu.cfs_quota_us", "") == "20000"
        assert value(daemon, container, "cpu", "cpu.shares", "") == "512"


def test_status_gives_the_limits_back(pod):
    asked = dict(cpu_period=50000, cpu_quota=20000, cpu_shares=512, memory_limit_in_bytes=64 << 20)
    told = pod.create(SLEEPER, linux=resources(**asked)).status().resources.linux
    assert {key: getattr(told, key) for key in asked} == asked


def test_what_was_not_asked_for_is_not_limited(daemon, pod):
    container = pod.run(SLEEPER)
    limit = value(daemon, container, "memory", "memory.limit_in_bytes", "memory.max")
    assert limit == "max" or int(limit) > 1 << 60
    quota = value(daemon, container, "cpu", "cpu.cfs_quota_us", "cpu.max")
    assert quota.split()[0] in ("max", "-1")


def test_processes_are_in_their_group_in_every_controller(daemon, pod):
    container = pod.run(SLEEPER)
    pid = container.info()["pid"]
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    placed = {line.split(":")[1]: line.split(":")[2] for line in lines}
    wanted = {"memory", "cpu", "pids", "devices"} if not UNIFIED else {""}
    for controller in wanted:
        assert container.id in placed[controller], (controller, lines)


@pytest.mark.parametrize("mapped", [False, True], ids=["ordinary pod", "user namespace"])
def test_who_is_not_root_may_read_the_limits(daemon, cri, mapped):
    """Programs that are not root size themselves by them: on v2 the group is the container's own /sys/fs/cgroup."""
    pod = run_pod(cri) if mapped else cri.run_pod()
    linux = resources(memory_limit_in_bytes=64 << 20)
    linux.security_context.run_as_user.value = 1000
    container = pod.run(SLEEPER, linux=linux)
    for controller in ("memory", "cpu", "pids", "devices", "unified"):
        assert group(daemon, container.id, controller).stat().st_mode & 0o777 == 0o755, controller
    if UNIFIED:
        assert container.shell("id -u; cat /sys/fs/cgroup/memory.max") == f"1000\n{64 << 20}\n"


def test_a_command_runs_inside_the_containers_group(daemon, pod):
    """Seen from the container's cgroup namespace: at its root or below, never `..`."""
    lines = pod.run(SLEEPER).shell("cat /proc/self/cgroup").splitlines()
    assert lines and not [line for line in lines if ".." in line]


def mounted_groups(pid: int | str) -> dict[str, str]:
    """Kind, device and options of each mount of cgroups, by its place."""
    lines = [line.split() for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
             if " - cgroup" in line]
    return {fields[4]: " ".join([fields[-3], fields[2], fields[3], fields[-1]]) for fields in lines}


def test_a_privileged_container_has_no_namespace_of_groups(cri, daemon):
    """It, and commands in it, see the node's groups where the node has v2, and their own otherwise; they may write
    there. The options that the node has mounted them with (nsdelegate, memory_recursiveprot) stay."""
    before = mounted_groups("self")
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(privileged=True)))
    container = pod.run(SLEEPER, linux=security(privileged=True))
    pid = container.info()["pid"]
    assert os.readlink(f"/proc/{pid}/ns/cgroup") == os.readlink("/proc/self/ns/cgroup")
    seen = container.shell("readlink /proc/self/ns/cgroup; cat /proc/self/cgroup")  # a command's
    assert os.readlink("/proc/self/ns/cgroup") in seen and f"{cri.cgroup_parent}/{container.id}/exec-" in seen
    assert mounted_groups("self") == before
    shown = mounted_groups(pid)
    own = f"{cri.cgroup_parent}/{container.id}"
    if UNIFIED:
        assert shown == {"/sys/fs/cgroup": before[str(CGROUPS)]}
    else:
        assert {"memory", "pids", "cpu"} <= {os.path.basename(place) for place in shown}
        assert all(what.split()[2] == own for what in shown.values()), shown
    container.shell(f"echo 777 > /sys/fs/cgroup{own if UNIFIED else '/pids'}/pids.max")
    assert value(daemon, container, "pids", "pids.max", "pids.max") == "777"
    ordinary = pod.run(SLEEPER, name="ordinary")
    assert os.readlink(f"/proc/{ordinary.info()['pid']}/ns/cgroup") != os.readlink("/proc/self/ns/cgroup")
    assert mounted_groups("self") == before


def test_the_pods_parent_is_neither_limited_nor_removed(cri, daemon):
    pod = cri.run_pod()
    tops = [top / daemon.base.name for top in controllers() if (top / daemon.base.name).is_dir()]
    assert tops
    pod.remove()
    assert all(top.is_dir() for top in tops)


def test_a_deep_parent_is_used_as_given(cri, daemon):
    parent = f"{cri.cgroup_parent}/burstable/podx"
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=parent))
    container = pod.run(SLEEPER)
    assert f"{parent}/" in pathlib.Path(f"/proc/{container.info()['pid']}/cgroup").read_text()
    pod.remove()
    for top in controllers():
        for directory in (parent, f"{cri.cgroup_parent}/burstable"):
            path = top / directory.strip("/")
            if path.is_dir():
                path.rmdir()  # empty: the pod left nothing in it


def test_an_empty_parent_means_our_own(cri):
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig())
    container = pod.run(SLEEPER)
    assert "/swiftlet/" in pathlib.Path(f"/proc/{container.info()['pid']}/cgroup").read_text()


def test_the_number_of_processes_is_told_by_the_group(daemon, pod):
    container = pod.run(["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
    directory = group(daemon, container.id, "pids")

    def processes() -> int:
        return sum(len((path / "cgroup.procs").read_text().split()) for path in [directory, *below(directory)]
                   if path.is_dir())

    from lib import wait
    wait.until(lambda: processes() == 3, "three processes")


@pytest.mark.parametrize("parent", ["/../../escape", "/a/../../b", "/a\nb"])
def test_a_parent_that_leads_elsewhere_is_refused(cri, parent):
    import grpc

    refused = cri.refused("RunPodSandbox", config=cri.pod_config(
        linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent + parent)))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
