"""LinuxContainerResources at creation: every field in the kernel's files, and what is refused."""

import pathlib
import signal

import grpc
import pytest

from lib import cgroups, wait
from lib.cgroups import UNIFIED, group, value
from lib.cri import SLEEPER, resources
from lib.pods import catches
from lib.stubs import pb

INVALID, STATE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
MIB = 1 << 20
HUGE_PAGES = pathlib.Path("/sys/fs/cgroup/hugetlb").is_dir() or (
    UNIFIED and "hugetlb" in (cgroups.CGROUPS / "cgroup.controllers").read_text().split())


@pytest.mark.parametrize("asked, limit, swap", [
    (dict(memory_limit_in_bytes=64 * MIB), 64 * MIB, 0),
    (dict(memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=64 * MIB), 64 * MIB, 0),
    (dict(memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=96 * MIB), 64 * MIB, 32 * MIB),
    (dict(memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=-1), 64 * MIB, "max"),
    (dict(memory_limit_in_bytes=-1), "max", "max"),
], ids=["no swap by default", "no swap", "some swap", "any swap", "no limit"])
def test_memory_and_swap(daemon, pod, asked, limit, swap):
    container = pod.run(SLEEPER, linux=resources(**asked))
    assert cgroups.memory(daemon, container) == limit
    assert cgroups.swap(daemon, container) in (swap, None)


def test_every_other_field(daemon, pod):
    asked = dict(cpu_period=20000, cpu_quota=10000, cpu_shares=102, cpuset_cpus="0", cpuset_mems="0",
                 hugepage_limits=[pb.HugepageLimit(page_size=size, limit=0) for size in ("2MB", "1GB")])
    container = pod.run(SLEEPER, linux=resources(**asked))
    if UNIFIED:
        assert value(daemon, container, "cpu", "", "cpu.max") == "10000 20000"
        assert value(daemon, container, "cpu", "", "cpu.weight") == "17"
    else:
        assert value(daemon, container, "cpu", "cpu.cfs_quota_us", "") == "10000"
        assert value(daemon, container, "cpu", "cpu.cfs_period_us", "") == "20000"
        assert value(daemon, container, "cpu", "cpu.shares", "") == "102"
    assert value(daemon, container, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert value(daemon, container, "cpuset", "cpuset.mems", "cpuset.mems") == "0"
    if HUGE_PAGES:
        assert value(daemon, container, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max") == "0"
    told = container.status().resources.linux
    assert told == pb.LinuxContainerResources(**asked)


REFUSED = [
    (dict(cpu_period=999), "cpu_period"), (dict(cpu_period=-5), "cpu_period"), (dict(cpu_period=2000000), "cpu_period"),
    (dict(cpu_quota=-2), "cpu_quota"), (dict(cpu_quota=1 << 60), "cpu_quota"), (dict(cpu_shares=-1), "cpu_shares"),
    (dict(cpu_shares=262145), "cpu_shares"), (dict(memory_limit_in_bytes=-2), "memory_limit_in_bytes"),
    (dict(memory_swap_limit_in_bytes=MIB), "memory_swap_limit_in_bytes"),
    (dict(memory_limit_in_bytes=2 * MIB, memory_swap_limit_in_bytes=MIB), "memory_swap_limit_in_bytes"),
    (dict(oom_score_adj=1001), "oom_score_adj"), (dict(oom_score_adj=-1001), "oom_score_adj"),
    (dict(cpuset_cpus="0-"), "cpuset_cpus"), (dict(cpuset_cpus="3-1"), "cpuset_cpus"),
    (dict(cpuset_cpus="-1"), "cpuset_cpus"), (dict(cpuset_mems="0;1"), "cpuset_mems"),
    (dict(cpuset_mems="99999999999999999999"), "cpuset_mems"),
    (dict(hugepage_limits=[pb.HugepageLimit(page_size="2MB/../x", limit=1)]), "hugepage_limits"),
    (dict(hugepage_limits=[pb.HugepageLimit(page_size="", limit=0)]), "hugepage_limits"),
    (dict(unified={"../cgroup.procs": "1"}), "unified"), (dict(unified={"cgroup.kill": "1"}), "unified"),
    (dict(unified={"memory.high": ""}), "unified"), (dict(unified={"memory.high": "1" * 5000}), "unified"),
]


def test_a_value_that_no_kernel_takes_is_refused_by_name(cri, pod):
    for asked, field in REFUSED:
        refused = pod.create_refused(["true"], linux=resources(**asked))
        assert refused.code == INVALID and refused.text.startswith(f"linux.resources.{field}"), (asked, refused)
    assert not cri.containers()


def test_huge_pages_that_the_node_has_not_are_refused(pod):
    """With the limit 0, which kubelet sends for every size it knows, there is nothing to refuse."""
    page = pb.HugepageLimit(page_size="16GB", limit=16 << 30)
    refused = pod.create_refused(["true"], linux=resources(hugepage_limits=[page]))
    assert refused.code == STATE and "linux.resources.hugepage_limits" in refused.text
    page.limit = 0
    assert pod.output("echo fine", linux=resources(hugepage_limits=[page])) == "fine\n"


def test_processors_that_the_node_has_not_are_told_by_the_start(pod):
    container = pod.create(["true"], linux=resources(cpuset_cpus="4000"))
    refused = container.start_refused()
    assert refused.code == INVALID and "linux.resources.cpuset_cpus" in refused.text
    status = container.status()
    assert (status.reason, status.exit_code) == ("StartError", 128) and "cpuset_cpus" in status.message


def test_unified_keys(daemon, pod):
    """Written as they are on v2; v1 has no such files, which the log says."""
    container = pod.run(SLEEPER, linux=resources(
        memory_limit_in_bytes=64 * MIB, unified={"memory.high": str(32 * MIB), "memory.oom.group": "1"}))
    if UNIFIED:
        assert value(daemon, container, "", "", "memory.high") == str(32 * MIB)
        assert value(daemon, container, "", "", "memory.oom.group") == "1"
    else:
        told = [line for line in daemon.tail(200).splitlines() if container.id in line and "unified" in line]
        assert told and "memory.high" in told[0] and "cgroup v1" in told[0]


def test_every_container_has_a_limit_of_processes(daemon, pod):
    assert value(daemon, pod.run(SLEEPER), "pids", "pids.max", "pids.max") == "4096"


def test_the_limit_of_processes_is_the_configurations(make_daemon, archives):
    """It binds the container and what is run in it."""
    daemon = make_daemon(start=False)
    with open(daemon.config, "a") as config:
        config.write("[containers]\npids_limit = 12\nmax_container_log_line_size = 5\n")
    daemon.start()
    daemon.prepare(archives)
    pod = daemon.client.run_pod()
    container = pod.run(SLEEPER)
    assert value(daemon, container, "pids", "pids.max", "pids.max") == "12"
    answer = container.execute("sh", "-c", "for i in $(seq 20); do sleep 60 >/dev/null 2>&1 & done; echo started all")
    assert b"started all" not in answer.stdout and b"fork" in answer.stderr
    lines = pod.run(["echo", "twelve bytes"], name="lines")
    lines.wait()
    assert [(line.content, line.full) for line in lines.log()] == [(b"twelv", False), (b"e byt", False), (b"es", True)]
    pod.remove()


def test_a_limit_of_processes_that_is_none(make_daemon):
    daemon = make_daemon(start=False)
    text = daemon.config.read_text()
    for key, limit in [("pids_limit", limit) for limit in ("0", "-2", "4194305", '"many"')] + [
            ("max_container_log_line_size", limit) for limit in ("0", "-1", "65537")]:
        daemon.config.write_text(f"{text}[containers]\n{key} = {limit}\n")
        code, output = daemon.run_to_end()
        assert code != 0 and f"containers.{key}" in output, (limit, output)


def test_an_oom_score_that_needs_a_privilege(daemon, pod):
    """Without CAP_SYS_RESOURCE it is clamped to the shim's own, and the log says so; never is a container refused."""
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    container = pod.run(SLEEPER, linux=resources(oom_score_adj=-998))
    score = int(container.shell("cat /proc/self/oom_score_adj"))
    if effective >> 24 & 1:
        assert score == -998
    else:
        assert score == int(pathlib.Path("/proc/self/oom_score_adj").read_text())
        assert [line for line in daemon.tail(200).splitlines() if container.id in line and "clamped" in line]


# parents


@pytest.fixture
def kubelets_parent(cri):
    """`kubepods/burstable/pod<uid>` as kubelet makes it with the cgroupfs driver: there before us, and with limits."""
    path = f"{cri.cgroup_parent}/kubepods/burstable/pod5b3c2a"
    directories = cgroups.make(path)
    limits = {("pids", "pids.max"): "64",
              ("memory", "memory.max" if UNIFIED else "memory.limit_in_bytes"): str(48 * MIB)}

    def read() -> dict:
        return {key: (cgroups.top(key[0]) / path.strip("/") / key[1]).read_text().strip() for key in limits}

    for (controller, file), limit in limits.items():
        (cgroups.top(controller) / path.strip("/") / file).write_text(limit)
    yield path, read, limits
    cri.remove_all()
    assert read() == limits
    assert [child for directory in directories for child in directory.iterdir() if child.is_dir()] == []
    cgroups.remove(directories, depth=3)


def test_pods_below_a_parent_of_kubelets(cri, kubelets_parent):
    """Two pods of one parent; its limits bind both, and it is neither changed nor removed."""
    path, read, limits = kubelets_parent
    linux = pb.LinuxPodSandboxConfig(cgroup_parent=path)
    first, second = cri.run_pod(linux=linux), cri.run_pod(linux=linux)
    containers = [first.run(SLEEPER), second.run(SLEEPER)]
    for container in containers:
        lines = pathlib.Path(f"/proc/{container.info()['pid']}/cgroup").read_text().splitlines()
        memory = next(line for line in lines if UNIFIED or ":memory:" in line)
        assert memory.endswith(f"{path}/{container.id}")
    first.remove()
    assert read() == limits
    assert containers[1].shell("echo alive") == "alive\n"
    # The pod's limit kills, not one of the container's: it is an OOM kill all the same.
    hungry = second.run(["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"], name="hungry")
    status = hungry.wait()
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    assert containers[1].shell("echo alive") == "alive\n"


def test_a_neighbours_oom_kill_is_not_ours(pod):
    """A command run in the container is killed for want of memory; the container is not, and ends as it was told."""
    container = pod.run(SLEEPER, linux=resources(memory_limit_in_bytes=24 * MIB))
    assert container.execute("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1").exit_code == 137
    catches(container, signal.SIGTERM)
    container.stop(timeout=10)
    status = container.status()
    assert (status.exit_code, status.reason) == (0, "Completed")


def test_a_childs_oom_kill_is_not_why_a_stop_ended_it(pod):
    """FAULTS F30. The group has counted one when SIGKILL comes, from the container's stop or its pod's. On v2 what is
    killed of a command counts there, too."""
    script = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?; exec sleep 100000"]
    first, second = [pod.run(script, name=name, linux=resources(memory_limit_in_bytes=24 * MIB))
                     for name in ("first", "second")]
    for container in (first, second):
        wait.until(lambda: "137\n" in container.log_text(), "the child's end")
    first.stop()
    pod.stop()
    assert [(container.status().exit_code, container.status().reason) for container in (first, second)] == [
        (137, "Error"), (137, "Error")]


def test_processes_that_a_container_leaves_behind_are_gone_with_it(cri, daemon):
    """In the pod's PID namespace the kernel does not end them with the first."""
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))
    container = pod.run(["sh", "-c", "for i in 1 2 3; do setsid sleep 4321 & done; sleep 4321"])
    directory = group(daemon, container.id, "pids")
    wait.until(lambda: len((directory / "cgroup.procs").read_text().split()) >= 4, "the sleepers")
    container.remove()
    assert not directory.exists()
    assert "4321" not in pod.run(SLEEPER, name="look").shell("ps")
