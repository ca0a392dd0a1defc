"""UpdateContainerResources and UpdatePodSandboxResources: only what is given, all of it or nothing, and remembered."""

import json
import pathlib

import grpc

from lib import cgroups, wait
from lib.cgroups import UNIFIED, value
from lib.cri import SLEEPER, resources
from lib.stubs import pb

INVALID, STATE, NOT_FOUND = (
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)
MIB = 1 << 20
BEFORE = dict(cpu_period=100000, cpu_quota=50000, cpu_shares=512, memory_limit_in_bytes=64 * MIB, cpuset_cpus="0-1")


def update(container, **fields):
    container.client.call(
        "UpdateContainerResources", container_id=container.id, linux=pb.LinuxContainerResources(**fields))


def update_refused(container, **fields):
    return container.client.refused(
        "UpdateContainerResources", container_id=container.id, linux=pb.LinuxContainerResources(**fields))


def told(container) -> dict:
    """The fields that the status names."""
    return {field.name: value for field, value in container.status().resources.linux.ListFields()}


def limits(daemon, container) -> dict:
    """The same as the kernel has it."""
    if UNIFIED:
        quota, period = value(daemon, container, "cpu", "", "cpu.max").split()
        shares = {"59": 512, "174": 2048}[value(daemon, container, "cpu", "", "cpu.weight")]
    else:
        quota = value(daemon, container, "cpu", "cpu.cfs_quota_us", "")
        period = value(daemon, container, "cpu", "cpu.cfs_period_us", "")
        shares = int(value(daemon, container, "cpu", "cpu.shares", ""))
    return dict(cpu_period=int(period), cpu_quota=int(quota), cpu_shares=shares,
                memory_limit_in_bytes=cgroups.memory(daemon, container),
                cpuset_cpus=value(daemon, container, "cpuset", "cpuset.cpus", "cpuset.cpus"))


CHANGES = [
    dict(cpu_quota=20000), dict(cpu_period=50000), dict(cpu_period=10000, cpu_quota=1000), dict(cpu_shares=2048),
    dict(memory_limit_in_bytes=256 * MIB), dict(memory_limit_in_bytes=32 * MIB), dict(cpuset_cpus="1"),
]


def test_only_what_is_given_changes(daemon, pod):
    for number, change in enumerate(CHANGES):
        container = pod.run(SLEEPER, name=f"c{number}", linux=resources(**BEFORE))
        assert limits(daemon, container) == BEFORE
        update(container, **change)
        assert limits(daemon, container) == told(container) == {**BEFORE, **change}
        assert cgroups.swap(daemon, container) in (0, None)
        update(container)
        assert limits(daemon, container) == told(container) == {**BEFORE, **change}


def test_a_created_container_has_the_new_limits_from_its_start(daemon, pod):
    container = pod.create(SLEEPER, linux=resources(**BEFORE))
    change = dict(memory_limit_in_bytes=128 * MIB, cpu_shares=2048, oom_score_adj=700)
    update(container, **change)
    assert told(container) == {**BEFORE, **change}
    container.start()
    assert {**limits(daemon, container), "oom_score_adj": 700} == {**BEFORE, **change}
    assert pathlib.Path(f"/proc/{container.info()['pid']}/oom_score_adj").read_text() == "700\n"


def test_all_of_it_or_nothing(daemon, pod):
    """The last thing written is refused by the kernel: what was written before it is taken back."""
    container = pod.run(SLEEPER, linux=resources(**BEFORE))
    refused = update_refused(
        container, cpu_quota=20000, cpu_shares=2048, memory_limit_in_bytes=256 * MIB, cpuset_cpus="1",
        cpuset_mems="1000")
    assert refused.code == INVALID and "linux.cpuset_mems" in refused.text and "not put back" not in refused.text
    assert limits(daemon, container) == BEFORE and told(container) == BEFORE
    assert cgroups.swap(daemon, container) in (0, None)


def test_memory_up_and_down_with_swap(daemon, pod):
    """v1 never lets memory and swap together be less than memory: the order of the two writes turns."""
    container = pod.run(SLEEPER, linux=resources(memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=64 * MIB))
    for limit, both, extra in [(256, 256, 0), (48, 48, 0), (96, 128, 32), (64, 0, 64), (64, -1, "max"), (32, 0, "max")]:
        update(container, memory_limit_in_bytes=limit * MIB,
               memory_swap_limit_in_bytes=both * MIB if both > 0 else both)
        assert cgroups.memory(daemon, container) == limit * MIB
        assert cgroups.swap(daemon, container) in (extra if extra == "max" else extra * MIB, None)
    refused = update_refused(container, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=32 * MIB)
    assert refused.code == INVALID and "linux.memory_swap_limit_in_bytes" in refused.text


def test_memory_below_what_is_used_is_refused(daemon, pod):
    """The container goes on; on v2 the kernel would kill it otherwise."""
    container = pod.run(
        ["sh", "-c", "dd if=/dev/zero of=/dev/shm/held bs=1M count=24 && touch /ready && sleep 1000"],
        linux=resources(memory_limit_in_bytes=64 * MIB))
    wait.until(lambda: container.execute("test", "-e", "/ready").exit_code == 0, "memory in use")
    refused = update_refused(container, memory_limit_in_bytes=16 * MIB, cpu_shares=2048)
    assert refused.code == STATE and "linux.memory_limit_in_bytes" in refused.text and "uses" in refused.text
    assert cgroups.memory(daemon, container) == 64 * MIB
    assert container.shell("echo alive") == "alive\n"
    assert told(container) == {"memory_limit_in_bytes": 64 * MIB}
    update(container, memory_limit_in_bytes=40 * MIB)
    assert cgroups.memory(daemon, container) == 40 * MIB


def test_processors_while_a_command_runs(daemon, pod):
    """An exec has a group of its own below; v1 lets no group lose what one below it has."""
    container = pod.run(SLEEPER, linux=resources(cpuset_cpus="0-1"))
    running = container.client.runtime.ExecSync.future(pb.ExecSyncRequest(
        container_id=container.id, cmd=["sh", "-c", "touch /in; while [ ! -e /out ]; do usleep 5000; done; "
                                                    "grep Cpus_allowed_list /proc/self/status"], timeout=120))
    wait.until(lambda: container.execute("test", "-e", "/in").exit_code == 0, "a command in the container")
    for cpus in ("1", "0", "0-1", "1"):
        update(container, cpuset_cpus=cpus)
        assert value(daemon, container, "cpuset", "cpuset.cpus", "cpuset.cpus") == cpus
    container.shell("touch /out")
    assert running.result(120).stdout == b"Cpus_allowed_list:\t1\n"


def test_the_oom_score_of_what_runs(pod):
    container = pod.run(["sh", "-c", "sleep 1000 & sleep 1000 & wait"], linux=resources(oom_score_adj=100))
    wait.until(lambda: [line.endswith(" sleep 1000") for line in container.shell("ps").splitlines()].count(True) == 2,
               "both children")
    update(container, oom_score_adj=900)
    assert container.shell("cat /proc/[0-9]*/oom_score_adj | sort -u") == "900\n"
    assert told(container)["oom_score_adj"] == 900


def test_huge_pages_and_unified_keys_by_name(pod):
    page = [pb.HugepageLimit(page_size=size, limit=0) for size in ("2MB", "1GB")]
    container = pod.create(SLEEPER, linux=resources(hugepage_limits=page[:1], unified={"memory.high": "10000000"}))
    update(container, hugepage_limits=page, unified={"memory.low": "5000"})
    limits = container.status().resources.linux
    assert [limit.page_size for limit in limits.hugepage_limits] == ["2MB", "1GB"]
    assert dict(limits.unified) == {"memory.high": "10000000", "memory.low": "5000"}


REFUSED = [
    (dict(memory_limit_in_bytes=-7), "memory_limit_in_bytes"), (dict(cpu_quota=5), "cpu_quota"),
    (dict(cpu_shares=-2), "cpu_shares"), (dict(oom_score_adj=5000), "oom_score_adj"),
    (dict(cpuset_cpus="a"), "cpuset_cpus"), (dict(unified={"x": "1"}), "unified"),
    (dict(memory_swap_limit_in_bytes=MIB), "memory_swap_limit_in_bytes"),
]


def test_a_value_that_no_kernel_takes(pod):
    container = pod.run(SLEEPER, linux=resources(cpu_shares=512))
    for change, field in REFUSED:
        refused = update_refused(container, **change)
        assert refused.code == INVALID and refused.text.startswith(f"linux.{field}"), (change, refused)
    assert told(container) == {"cpu_shares": 512}


def test_who_cannot_be_updated(cri, pod):
    nobody = cri.refused("UpdateContainerResources", container_id="f" * 64, linux=pb.LinuxContainerResources())
    assert nobody.code == NOT_FOUND
    assert cri.refused("UpdateContainerResources").code == INVALID
    container = pod.run(["true"])
    windows = cri.refused("UpdateContainerResources", container_id=container.id,
                          windows=pb.WindowsContainerResources(cpu_shares=5))
    assert windows.code == INVALID and "windows" in windows.text
    container.wait()
    assert update_refused(container, cpu_shares=512).code == STATE


def test_annotations_change_nothing(cri, pod):
    container = pod.run(SLEEPER, annotations={"own": "1"})
    cri.call("UpdateContainerResources", container_id=container.id, annotations={"other": "2"},
             linux=pb.LinuxContainerResources(cpu_shares=512))
    assert dict(container.status().annotations) == {"own": "1"} and told(container) == {"cpu_shares": 512}


def test_updates_outlive_the_daemon(make_daemon):
    daemon = make_daemon()
    pod = daemon.client.run_pod()
    running, created = (pod.run if name == "running" else pod.create for name in ("running", "created"))
    containers = [running(SLEEPER, name="running", linux=resources(**BEFORE)),
                  created(SLEEPER, name="created", linux=resources(**BEFORE))]
    after = {**BEFORE, "memory_limit_in_bytes": 128 * MIB, "cpu_shares": 2048}
    for container in containers:
        update(container, memory_limit_in_bytes=128 * MIB, cpu_shares=2048)
    overhead = pb.LinuxContainerResources(memory_limit_in_bytes=7 * MIB)
    daemon.client.call("UpdatePodSandboxResources", pod_sandbox_id=pod.id, overhead=overhead)
    daemon.kill()
    daemon.start()
    containers[1].start()
    for container in containers:
        assert limits(daemon, container) == after and told(container) == after
    assert pod.info()["overhead"] == {"memoryLimitInBytes": 7 * MIB}
    pod.remove()


def test_a_pods_resources_are_noted_and_its_group_is_left_alone(cri):
    path = f"{cri.cgroup_parent}/kubepods/pod1"
    directories = cgroups.make(path)

    def limit() -> str:
        file = "memory.max" if UNIFIED else "memory.limit_in_bytes"
        return (cgroups.top("memory") / path.strip("/") / file).read_text()

    try:
        before = limit()
        pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=path, overhead=pb.LinuxContainerResources(cpu_shares=10)))
        assert pod.info()["overhead"] == {"cpuShares": 10} and "resources" not in pod.info()
        limits = pb.LinuxContainerResources(memory_limit_in_bytes=32 * MIB, cpuset_cpus="0", unified={"a.b": "c"})
        cri.call("UpdatePodSandboxResources", pod_sandbox_id=pod.id, resources=limits)
        info = pod.info()
        assert info["overhead"] == {"cpuShares": 10}
        assert info["resources"] == {"memoryLimitInBytes": 32 * MIB, "cpusetCpus": "0", "unified": {"a.b": "c"}}
        assert limit() == before
        assert cri.refused("UpdatePodSandboxResources", pod_sandbox_id="f" * 64).code == NOT_FOUND
        assert json.dumps(info)
    finally:
        cri.remove_all()
        cgroups.remove(directories, depth=2)
