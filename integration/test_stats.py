"""What containers and pods use: ContainerStats, PodSandboxStats and their lists."""

import contextlib
import os
import pathlib
import time

import grpc
import pytest

from lib import cgroups, wait
from lib.cri import SLEEPER, resources
from lib.stubs import pb
from lib.trees import below

NOT_FOUND, STATE = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION
MIB = 1 << 20


def stats(container):
    return container.client.call("ContainerStats", container_id=container.id).stats


def listed(cri, **filter) -> dict:
    answer = cri.call("ListContainerStats", filter=pb.ContainerStatsFilter(**filter) if filter else None)
    return {one.attributes.id: one for one in answer.stats}


def counted(container):
    """Its stats with its layer, which a busy machine counts beside the first answer."""
    return wait.until(lambda: found if (found := stats(container)).writable_layer.timestamp else None, "its layer")


def pod_stats(pod):
    return pod.client.call("PodSandboxStats", pod_sandbox_id=pod.id).stats


def test_what_a_container_uses(cri, pod):
    script = ("dd if=/dev/zero of=/dev/shm/held bs=1M count=16; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; "
              "touch /ready; sleep 1000")
    container = pod.run(["sh", "-c", script], labels={"a": "b"}, annotations={"c": "d"},
                        linux=resources(memory_limit_in_bytes=64 * MIB))
    wait.until(lambda: container.execute("test", "-e", "/ready").exit_code == 0, "use of memory")
    found = stats(container)
    assert found.attributes.id == container.id and found.attributes.metadata.name == "main"
    assert dict(found.attributes.labels) == {"a": "b"} and dict(found.attributes.annotations) == {"c": "d"}
    started = container.status().started_at
    assert found.cpu.timestamp > started and found.memory.timestamp > started
    assert found.cpu.usage_core_nano_seconds.value > 1000000
    memory = found.memory
    assert 16 * MIB <= memory.working_set_bytes.value <= memory.usage_bytes.value <= 64 * MIB
    assert memory.available_bytes.value == 64 * MIB - memory.working_set_bytes.value
    assert 0 < memory.rss_bytes.value < 64 * MIB and memory.page_faults.value > 100
    assert memory.HasField("major_page_faults")
    if found.HasField("swap"):
        assert found.swap.timestamp and found.swap.swap_available_bytes.value == 0
    pressure = pathlib.Path("/proc/pressure/cpu").exists() and below(cgroups.CGROUPS, "cgroup.pressure")
    assert found.cpu.HasField("psi") == found.memory.HasField("psi") == found.io.HasField("psi") == bool(pressure)


def test_the_rate_comes_with_the_second_reading(pod):
    busy = pod.run(["sh", "-c", "while :; do :; done"], linux=resources(cpu_period=100000, cpu_quota=30000))
    first = stats(busy).cpu
    assert not first.HasField("usage_nano_cores")

    def rate():
        cpu = stats(busy).cpu
        # 0.3 of a processor at most, seen over a second or so: a reading that was held up by a busy machine, between
        # the clock and the counter, may show more, and the next one does not.
        return cpu if 0 < cpu.usage_nano_cores.value < 500000000 else None

    second = wait.until(rate, "a rate", pause=0.1)
    assert second.usage_core_nano_seconds.value > first.usage_core_nano_seconds.value


def test_the_writable_layer(cri, pod):
    """Links, holes and other names of one file are counted as the file system does."""
    script = ("dd if=/dev/zero of=/big bs=1M count=3; ln /big /again; ln -s /etc/passwd /link; mkdir -p /d/e; "
              "dd if=/dev/zero of=/hole bs=1 count=1 seek=1G; touch /ready; sleep 1000")
    container = pod.run(["sh", "-c", script])
    wait.until(lambda: container.execute("test", "-e", "/ready").exit_code == 0, "written files")
    layer = counted(container).writable_layer
    assert 3 * MIB <= layer.used_bytes.value < 4 * MIB
    (upper,) = (path / "fs" for path in below(pathlib.Path(layer.fs_id.mountpoint), container.id))
    seen = {os.lstat(upper).st_ino} | {
        os.lstat(os.path.join(top, name)).st_ino for top, folders, files in os.walk(upper) for name in folders + files}
    assert layer.inodes_used.value == len(seen)
    assert layer.fs_id.mountpoint == cri.call("ImageFsInfo").image_filesystems[0].fs_id.mountpoint
    # Not counted again for each question, but after 10 s.
    container.shell("dd if=/dev/zero of=/more bs=1M count=4")
    again = stats(container).writable_layer
    assert again == layer or time.time_ns() - layer.timestamp > 9_000_000_000


def test_which_containers_are_listed(cri, pod):
    other = cri.run_pod()
    first = pod.run(SLEEPER, name="first", labels={"app": "x", "n": "1"})
    second = pod.run(SLEEPER, name="second", labels={"app": "x", "n": "2"})
    third = other.run(SLEEPER, name="third", labels={"app": "y"})
    assert set(listed(cri)) == {first.id, second.id, third.id}
    assert set(listed(cri, id=first.id)) == set(listed(cri, id=first.id[:20])) == {first.id}
    assert set(listed(cri, pod_sandbox_id=pod.id)) == {first.id, second.id}
    assert set(listed(cri, label_selector={"app": "x"})) == {first.id, second.id}
    assert set(listed(cri, label_selector={"app": "x", "n": "2"})) == {second.id}
    assert not listed(cri, label_selector={"app": ""}) and not listed(cri, id="f" * 64)
    assert not listed(cri, id=first.id, pod_sandbox_id=other.id)
    assert all(one.cpu.timestamp and one.memory.timestamp for one in listed(cri).values())


def both(cri, id: str):
    """A container's stats of the list, where it says what its own call says."""
    found = listed(cri)[id]
    return found if found == cri.call("ContainerStats", container_id=id).stats else None


def test_one_that_does_not_run_has_its_layer_alone(pod, cri):
    ended = pod.run(["sh", "-c", "echo x > /file"], name="ended")
    ended.wait()
    for container in (ended, pod.create(SLEEPER, name="created")):
        counted(container)
        # Two questions, between which a busy machine may have counted again.
        found = wait.until(lambda id=container.id: both(cri, id), "one answer to both")
        assert found.attributes.metadata.name and found.writable_layer.used_bytes.value > 0
        assert not [name for name in ("cpu", "memory", "swap", "io") if found.HasField(name)]


def test_one_broken_container_does_not_fail_the_list(cri, daemon, pod):
    """Somebody has taken its group away."""
    whole, broken = pod.run(SLEEPER, name="whole"), pod.run(["sleep", "1000"], name="broken")
    controllers = ["memory", "cpuacct"] if not cgroups.UNIFIED else [""]
    for controller in controllers:
        directory = cgroups.group(daemon, broken.id, controller)
        place = directory.parent / "elsewhere"
        place.mkdir()
        (place / "cgroup.procs").write_text(str(broken.info()["pid"]))
        directory.rmdir()
    counted(broken)
    found = listed(cri)
    assert found[whole.id].HasField("cpu") and found[whole.id].HasField("memory")
    assert not found[broken.id].HasField("memory") and not found[broken.id].HasField("cpu")
    assert found[broken.id].writable_layer.timestamp
    pod.remove()
    for controller in controllers:
        wait.until(lambda controller=controller: removed(place_of(daemon, controller)), "its end")


def removed(group: pathlib.Path) -> bool:
    """A group lists nobody a moment before its last process has left it."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def place_of(daemon, controller: str) -> pathlib.Path:
    return cgroups.top(controller) / daemon.base.name / "elsewhere"


def test_an_unknown_container(cri):
    assert cri.refused("ContainerStats", container_id="f" * 64).code == NOT_FOUND
    assert cri.refused("ContainerStats").code == grpc.StatusCode.INVALID_ARGUMENT


# pods


@pytest.fixture
def own_parent(cri):
    path = f"{cri.cgroup_parent}/podx"
    directories = cgroups.make(path)
    yield path
    cri.remove_all()
    cgroups.remove(directories)


def test_what_a_pod_uses(cri, own_parent):
    """From its own group: what a container of it holds is in, whoever made the group."""
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=own_parent, security_context=pb.LinuxSandboxSecurityContext(
            namespace_options=pb.NamespaceOption(pid=pb.CONTAINER))), labels={"l": "1"}, annotations={"a": "2"})
    script = "dd if=/dev/zero of=/dev/shm/$0 bs=1M count=8; touch /ready; exec sleep 1000"
    containers = [pod.run(["sh", "-c", script, name], name=name) for name in ("one", "two")]
    for container in containers:
        wait.until(lambda: container.execute("test", "-e", "/ready").exit_code == 0, "use of memory")
    before = pod_stats(pod)
    containers[0].execute("ping", "-c", "1", "-W", "1", "10.244.255.1")
    found = pod_stats(pod)
    assert found.attributes.id == pod.id and found.attributes.metadata == pod.config.metadata
    assert dict(found.attributes.labels) == {"l": "1"} and dict(found.attributes.annotations) == {"a": "2"}
    linux = found.linux
    assert linux.cpu.timestamp and linux.memory.timestamp
    assert linux.memory.usage_bytes.value >= 16 * MIB
    assert linux.cpu.usage_core_nano_seconds.value > before.linux.cpu.usage_core_nano_seconds.value
    assert {one.attributes.id for one in linux.containers} == {container.id for container in containers}
    assert linux.cpu.usage_core_nano_seconds.value >= sum(
        one.cpu.usage_core_nano_seconds.value for one in before.linux.containers)
    assert linux.process.timestamp
    # What was run in it is reaped a moment later.
    wait.until(lambda: pod_stats(pod).linux.process.process_count.value == 2, "two processes")
    network = linux.network
    assert network.timestamp and network.default_interface.name == "eth0" and not network.interfaces
    assert network.default_interface.tx_bytes.value > before.linux.network.default_interface.tx_bytes.value
    assert network.default_interface.HasField("rx_bytes") and network.default_interface.HasField("rx_errors")


def test_a_pod_without_a_parent_is_the_sum_of_its_parts(cri):
    """Our own parent holds all such pods, and says nothing about one of them."""
    pods = [cri.run_pod(linux=pb.LinuxPodSandboxConfig()) for _ in range(2)]
    holder = pods[0].run(["sh", "-c", "dd if=/dev/zero of=/dev/shm/held bs=1M count=32; touch /ready; sleep 1000"])
    wait.until(lambda: holder.execute("test", "-e", "/ready").exit_code == 0, "use of memory")
    large, small = (pod_stats(pod).linux for pod in pods)
    assert large.memory.usage_bytes.value >= 32 * MIB > small.memory.usage_bytes.value > 0
    assert large.memory.usage_bytes.value > large.containers[0].memory.usage_bytes.value  # pause's and the shim's
    assert large.cpu.usage_core_nano_seconds.value > 0 and small.cpu.timestamp


def test_which_pods_are_listed(cri):
    host = pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(
            namespace_options=pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)))
    first, second = cri.run_pod(labels={"app": "x"}), cri.run_pod(labels={"app": "y"}, linux=host)
    stopped = cri.run_pod(labels={"app": "x"})
    stopped.stop()

    def listed(**filter) -> dict:
        answer = cri.call("ListPodSandboxStats", filter=pb.PodSandboxStatsFilter(**filter) if filter else None)
        return {one.attributes.id: one for one in answer.stats}

    assert set(listed()) == {first.id, second.id}
    assert set(listed(id=first.id[:16])) == {first.id} and set(listed(label_selector={"app": "y"})) == {second.id}
    assert not listed(label_selector={"app": "z"})
    found = listed()
    assert found[first.id].linux.network.default_interface.name == "eth0"
    assert not found[second.id].linux.HasField("network")
    assert cri.refused("PodSandboxStats", pod_sandbox_id=stopped.id).code == STATE
    assert cri.refused("PodSandboxStats", pod_sandbox_id="f" * 64).code == NOT_FOUND


def test_the_client_shows_it(programs, daemon, pod, tmp_path):
    from lib.swiftlet import Swiftlet

    pod.run(["sh", "-c", "while :; do :; done"], name="busy", linux=resources(cpu_period=100000, cpu_quota=20000))
    pod.run(["true"], name="ended").wait()
    swiftlet = Swiftlet(programs / "swiftlet", daemon, tmp_path)
    (one,) = wait.until(lambda: [one for one in swiftlet.json("stats") if one["diskBytes"]], "its layer")
    assert one["name"] == "busy" and one["pod"] == pod.config.metadata.name
    assert one["cpuNanoCores"] > 0 and one["memoryWorkingSetBytes"] > 0 and one["diskBytes"] > 0
    header, line = swiftlet("stats").splitlines()
    assert header.split()[:4] == ["NAMESPACE", "POD", "CONTAINER", "CPU"] and " busy " in line
