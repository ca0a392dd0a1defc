"""Groups, limits and namespaces of cgroup v2, where it is all that the node has."""

import os
import pathlib
import signal
import subprocess

import pytest

from lib import wait
from lib.cri import SLEEPER, resources, security
from lib.streams import SpdyCommand
from lib.stubs import pb
from vm.cases.kernel import ROOT, counts, group, moves, of, read

MIB = 1 << 20


def test_the_node_has_no_other_hierarchy(cri):
    kinds = {line.split(" - ")[1].split()[0] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()}
    assert "cgroup2" in kinds and "cgroup" not in kinds
    assert {"cpu", "memory", "pids", "cpuset", "io"} <= set((ROOT / "cgroup.controllers").read_text().split())


def test_every_limit_is_in_its_file(pod):
    pages = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB").is_dir()
    container = pod.run(SLEEPER, linux=resources(
        cpu_period=50000, cpu_quota=20000, cpu_shares=10240, memory_limit_in_bytes=64 * MIB,
        memory_swap_limit_in_bytes=96 * MIB, cpuset_cpus="1", cpuset_mems="0",
        hugepage_limits=[pb.HugepageLimit(page_size="2MB", limit=4 * MIB)] if pages else [],
        unified={"memory.high": str(48 * MIB), "memory.low": str(8 * MIB), "memory.oom.group": "1", "pids.max": "77",
                 "io.weight": "default 250"}))
    expected = {
        "cpu.max": "20000 50000", "cpu.weight": "639", "memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB),
        "memory.high": str(48 * MIB), "memory.low": str(8 * MIB), "memory.oom.group": "1", "pids.max": "77",
        "cpuset.cpus": "1", "cpuset.cpus.effective": "1", "cpuset.mems": "0"}
    if pages:
        expected |= {"hugetlb.2MB.max": str(4 * MIB), "hugetlb.2MB.rsvd.max": str(4 * MIB)}
    assert read(group(container), *expected) == expected
    assert os.sched_getaffinity(container.info()["pid"]) == {1}


@pytest.mark.parametrize("fields, expected", [
    (dict(memory_limit_in_bytes=64 * MIB), {"memory.max": str(64 * MIB), "memory.swap.max": "0"}),
    (dict(memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=-1), {"memory.swap.max": "max"}),
    (dict(memory_limit_in_bytes=-1), {"memory.max": "max", "memory.swap.max": "max"}),
    (dict(cpu_period=20000), {"cpu.max": "max 20000", "cpu.weight": "100"}),
    (dict(cpu_quota=30000, cpu_shares=2), {"cpu.max": "30000 100000", "cpu.weight": "1"}),
], ids=["no swap", "free swap", "free memory", "period alone", "quota alone"])
def test_what_is_not_said_has_the_kernels_or_the_formulas_value(pod, fields, expected):
    assert read(group(pod.run(SLEEPER, linux=resources(**fields))), *expected) == expected


def test_unified_keys_of_a_container_that_runs_change_too(pod):
    container = pod.run(SLEEPER, linux=resources(unified={"memory.high": str(48 * MIB), "pids.max": "77"}))
    container.client.call("UpdateContainerResources", container_id=container.id, linux=pb.LinuxContainerResources(
        unified={"memory.high": str(40 * MIB), "memory.low": str(4 * MIB)}))
    expected = {"memory.high": str(40 * MIB), "memory.low": str(4 * MIB), "pids.max": "77"}
    assert read(group(container), *expected) == expected
    assert dict(container.status().resources.linux.unified) == expected


@pytest.mark.parametrize("key, value", [("memory.no_such_file", "1"), ("pids.max", "many")])
def test_a_unified_key_that_the_kernel_refuses_fails_the_start(pod, key, value):
    container = pod.create(SLEEPER, linux=resources(unified={key: value}))
    assert key in container.start_refused().text
    assert not group(container).exists()


def test_processes_are_born_in_their_groups(cri):
    """By CLONE_INTO_CGROUP: shim, pause, container and exec are in no other group first, and so nothing is moved."""
    with moves() as moved:
        pod = cri.run_pod()
        container = pod.run(SLEEPER)
        own = container.shell("cat /proc/self/cgroup; echo $$")
        assert of(container.info()["pid"]) == "/" + str(group(container).relative_to(ROOT))
        assert moved() == []
        other = group(pod)
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # and a move would have been seen:
        (other / "cgroup.procs").write_text(str(child.pid))
        assert "comm=cat" in "".join(moved())
        child.communicate()
    assert own.startswith("0::/exec-"), own


def test_shim_and_pause_are_in_the_pods_leaf(cri, daemon):
    pod = cri.run_pod()
    pids = (group(pod) / "cgroup.procs").read_text().split()

    def names() -> list[str]:
        return sorted(pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids)

    # A pod is there as soon as pause's exec has begun; its name comes a moment later.
    wait.until(lambda: names() == ["swiftlet-pause", "swiftlet-shim"], "the two programs' names")
    assert (group(pod).parent / "cgroup.procs").read_text() == ""


def test_a_command_has_a_group_of_its_own_for_as_long_as_it_runs(pod):
    container = pod.run(SLEEPER)
    assert container.shell("grep -c ^0::/exec- /proc/self/cgroup") == "1\n"
    wait.until(lambda: not list(group(container).glob("exec-*")), "end of the command's group")


@pytest.mark.parametrize("tty", [False, True])
def test_a_session_has_a_group_of_its_own_too(execute, running, tty):
    """Seen from the node, and gone when the client has left."""
    session = execute(SpdyCommand, "echo up; exec sleep 1234", stdin=True, tty=tty)
    session.read_until(b"up")
    (leaf,) = group(running).glob("exec-*")
    (pid,) = (leaf / "cgroup.procs").read_text().split()
    line = pathlib.Path(f"/proc/{pid}/cmdline")
    wait.until(lambda: line.read_bytes() == b"sleep\x001234\x00", "the command's own program")
    if tty:
        session.vanish()
    else:
        os.kill(int(pid), signal.SIGKILL)
        session.finish()
    wait.until(lambda: not leaf.exists(), "end of the session's group")
    assert running.status().state == pb.CONTAINER_RUNNING


OWN_GROUPS = """own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir $own/init.scope $own/system.slice
echo $$ > $own/init.scope/cgroup.procs; echo '+memory +pids' > $own/cgroup.subtree_control
sleep 1000 & echo $! > $own/system.slice/cgroup.procs; echo 7 > $own/system.slice/pids.max; echo made; wait"""


def test_a_container_that_makes_groups_of_its_own(cri):
    """As systemd does in a privileged container: commands still come in beside them, limits hold for all, nothing of it
    outlives a stop."""
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(privileged=True)))
    container = pod.run(["sh", "-c", OWN_GROUPS], linux=security(privileged=True))
    wait.until(lambda: container.log_text() == "made\n", "the container's own groups")
    directory = group(container)
    assert {path.name for path in directory.iterdir() if path.is_dir()} == {"init.scope", "system.slice"}
    assert container.shell("cut -d/ -f4 /proc/self/cgroup").startswith("exec-")
    container.client.call("UpdateContainerResources", container_id=container.id, linux=pb.LinuxContainerResources(
        memory_limit_in_bytes=64 * MIB, cpu_shares=512))
    assert read(directory, "memory.max", "cpu.weight") == {"memory.max": str(64 * MIB), "cpu.weight": "59"}
    stats = cri.call("ContainerStats", container_id=container.id).stats
    assert stats.memory.working_set_bytes.value > 0
    pids = [pid for path in directory.glob("*/cgroup.procs") for pid in path.read_text().split()]
    assert len(pids) == 2
    container.stop(timeout=0)
    wait.until(lambda: not directory.exists(), "end of the group")
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_L17_a_container_sees_its_own_group_and_cannot_write_to_it(pod):
    container = pod.run(SLEEPER, linux=resources(unified={"pids.max": "50"}))
    assert container.shell("cat /sys/fs/cgroup/pids.max") == "50\n"  # its own is the root of what it sees
    for script in ("echo 100 > /sys/fs/cgroup/pids.max", "echo 1 > /sys/fs/cgroup/cgroup.kill",
                   "echo 0 > /sys/fs/cgroup/cgroup.procs", "mkdir /sys/fs/cgroup/new"):
        answer = container.execute("sh", "-c", script)
        assert answer.exit_code != 0 and b"Read-only" in answer.stderr, script
    (mount,) = [line for line in container.shell("cat /proc/self/mountinfo").splitlines() if " /sys/fs/cgroup " in line]
    fields = mount.split()
    assert fields[3] in ("/", "/..") and {"ro", "nosuid", "nodev", "noexec"} <= set(fields[5].split(","))


def test_the_nodes_mount_keeps_its_options(cri, tmp_path):
    """All mounts of cgroup2 have one superblock, whose options each mount from the node's namespace sets anew."""
    def options() -> str:
        (line,) = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                   if line.split()[4] == str(ROOT)]
        return line.split(" - ")[1]

    before = options()
    assert "nsdelegate" in before and "memory_recursiveprot" in before
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(privileged=True)))
    container = pod.run(SLEEPER, linux=security(privileged=True))
    container.shell("mkdir /sys/fs/cgroup/own && rmdir /sys/fs/cgroup/own")
    mounts = container.shell("cat /proc/self/mountinfo").splitlines()
    assert [line.split(" - ")[1] for line in mounts if " /sys/fs/cgroup " in line] == [before]
    assert options() == before
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", tmp_path], check=True)  # what we must not do would be seen:
    try:
        assert "nsdelegate" not in options() and "memory_recursiveprot" not in options()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
        subprocess.run(["mount", "-o", "remount,nsdelegate,memory_recursiveprot", str(ROOT)], check=True)
    assert options() == before


def test_the_parent_of_kubelet_keeps_its_limits_and_gets_controllers(cri, daemon):
    top = ROOT / daemon.base.name / "kubelet"
    parent = top / "podx"
    parent.mkdir(parents=True)
    try:
        for directory in (top.parent.parent, top.parent, top):
            (directory / "cgroup.subtree_control").write_text("+pids +memory")
        (parent / "pids.max").write_text("99")
        (parent / "memory.max").write_text(str(512 * MIB))
        pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent="/" + str(parent.relative_to(ROOT))))
        container = pod.run(SLEEPER, linux=resources(cpu_shares=512, memory_limit_in_bytes=64 * MIB))
        assert read(group(container), "cpu.weight", "memory.max") == {
            "cpu.weight": "59", "memory.max": str(64 * MIB)}
        assert read(parent, "pids.max", "memory.max") == {"pids.max": "99", "memory.max": str(512 * MIB)}
        assert counts(parent, "cgroup.events")["populated"] == 1
        pod.remove()
        assert read(parent, "pids.max") == {"pids.max": "99"} and counts(parent, "cgroup.events")["populated"] == 0
    finally:
        parent.rmdir()
        top.rmdir()


def test_a_parent_with_processes_of_its_own_is_refused(cri, daemon):
    """cgroups(7), "no internal processes": such a group gives its children no controllers, so no limit would hold. It
    stays as it is: a controller of threads switched on in it would shut it for every process."""
    parent = ROOT / daemon.base.name / "busy"
    parent.mkdir(parents=True)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        (parent / "cgroup.procs").write_text(str(child.pid))
        pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent="/" + str(parent.relative_to(ROOT))))
        container = pod.create(SLEEPER, linux=resources(memory_limit_in_bytes=64 * MIB))
        assert "memory.max" in container.start_refused().text
        assert read(parent, "cgroup.type", "cgroup.subtree_control") == {
            "cgroup.type": "domain", "cgroup.subtree_control": ""}
        pod.remove()
    finally:
        child.communicate()
        wait.until(lambda: (parent / "cgroup.procs").read_text() == "", "end of the parent's process")
        parent.rmdir()
