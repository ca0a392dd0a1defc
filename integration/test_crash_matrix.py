"""NETWORK.md 10 by fault injection: the daemon dies at each step of making and unmaking a pod, or a step fails.

Whatever the place, the next daemon and the client's usual retry lead to one pod or none, and to a host as it was.
"""

import contextlib
import os
from collections import Counter

import grpc
import pytest

from lib import wait
from lib.census import Census, steady
from lib.stubs import pb

# In the order of Sources/LinuxSystem/Failpoint.swift, which refuses a name that it does not know.
# run.users is of pods with a user namespace only.
RUN = ["run.leased", "run.recorded", "run.shim", "run.spawn", "net.attach.namespace", "net.attach.veth",
       "net.attach.inside", "net.attach.host", "net.attach.ports", "net.attach.conntrack", "net.attach.done",
       "run.pause", "run.ready", "run.answer"]
STOP = ["stop.mark", "stop.network", "net.detach.mark", "net.detach.ports", "net.detach.conntrack", "net.detach.cut",
        "net.detach.done", "stop.processes", "net.detach.link_gone", "stop.containers", "stop.cgroups", "stop.files",
        "stop.record", "stop.answer"]
REMOVE = ["remove.record", "remove.answer"]


@pytest.fixture
def census(victim):
    """Equal before and after the case, but for the daemon's own descriptors: it is another process then."""
    census = Census(victim)
    before = census.take_host()
    yield census
    left = victim.client.pods()
    victim.client.remove_all()
    census.settled(before)
    assert not left


def armed(daemon, points: str) -> None:
    restart(daemon, SWIFTLET_FAILPOINTS=points)


def restart(daemon, **environment) -> None:
    if daemon.alive:
        daemon.terminate()
    daemon.start(env={**os.environ, **environment})


def config(daemon):
    """A pod that has everything of the network: a datagram port makes it forget connections, too."""
    number = 18800 + daemon.number
    return daemon.client.pod_config(port_mappings=[
        pb.PortMapping(container_port=80, host_port=number), pb.PortMapping(
            container_port=53, host_port=number, protocol=pb.UDP)])


def dies(daemon, call) -> None:
    """The daemon is killed in this call, which the client sees as a broken connection."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), caught.value
    assert daemon.process.wait(60) == -9, daemon.tail()


@pytest.mark.parametrize("place", RUN)
def test_death_while_a_pod_is_made(victim, census, place):
    cri, request = victim.client, config(victim)
    armed(victim, f"{place}=kill")
    dies(victim, lambda: cri.run_pod(request))
    restart(victim)
    pod = cri.run_pod(request)  # kubelet's retry
    assert [found.id for found in cri.pods()] == [pod.id] and pod.ready
    wait.until(lambda: len(victim.shims()) == 1, "one shim")
    ping(victim, pod)
    pod.stop()
    pod.remove()


@pytest.mark.parametrize("place", ["run.users", "net.attach.namespace", "net.attach.done", "run.pause", "run.ready"])
def test_death_while_a_pod_with_a_user_namespace_is_made(victim, census, place):
    """Its namespaces come from a process that is there for that alone; neither is left."""
    from test_userns import sandbox_linux

    cri = victim.client
    request = cri.pod_config(linux=sandbox_linux(cri))
    armed(victim, f"{place}=kill")
    dies(victim, lambda: cri.run_pod(request))
    restart(victim)
    pod = cri.run_pod(request)
    assert [found.id for found in cri.pods()] == [pod.id] and pod.ready
    wait.until(lambda: len(victim.shims()) == 1, "one shim")
    ping(victim, pod)
    pod.stop()
    pod.remove()


@pytest.mark.parametrize("place", STOP + REMOVE)
def test_death_while_a_pod_is_unmade(victim, census, place):
    cri = victim.client
    armed(victim, f"{place}=kill")
    pod = cri.run_pod(config(victim))

    def end():
        pod.stop()
        pod.remove()
        wait.until(lambda: not victim.alive, "death by a late event")
        cri.call("Version")

    dies(victim, end)
    restart(victim)
    pod.stop()
    if place not in ("remove.answer", "net.detach.link_gone"):  # by then it may be removed
        assert not pod.ready
    pod.remove()


def ping(daemon, pod) -> None:
    """Nobody listens, but somebody says so."""
    with pytest.raises(ConnectionRefusedError):
        daemon.node.inside.connect(pod.ip, 9)


# Which step fails, with what; the code and the words that the client gets. Half-done batches are the worst case: all
# messages are carried out and the last one counts as refused.
ERRORS = [
    ("run.leased=error:EIO", grpc.StatusCode.INTERNAL, ["run.leased", "EIO"]),
    ("run.recorded=error:EIO", grpc.StatusCode.INTERNAL, ["run.recorded"]),
    ("run.shim=error:EIO", grpc.StatusCode.INTERNAL, ["run.shim"]),
    ("run.spawn=error:EIO", grpc.StatusCode.INTERNAL, ["run.spawn"]),
    ("net.attach.namespace=error:ENOSPC", grpc.StatusCode.RESOURCE_EXHAUSTED, ["namespace", "ENOSPC", "max_net_name"]),
    ("net.attach.namespace=error:EPERM", grpc.StatusCode.RESOURCE_EXHAUSTED, ["namespace", "EPERM"]),
    ("net.attach.veth=error:ENOMEM", grpc.StatusCode.INTERNAL, ["create pod0af4", "ENOMEM"]),
    ("net.attach.veth=error:EEXIST", grpc.StatusCode.INTERNAL, ["create pod0af4", "EEXIST"]),
    ("net.attach.inside=error:EINVAL", grpc.StatusCode.INTERNAL, ["add route to ::/0", "eth0 of the pod", "EINVAL"]),
    ("net.attach.host=error:ENOBUFS", grpc.StatusCode.INTERNAL, ["look at", "swbr", "ENOBUFS"]),
    ("net.attach.ports=error:ENOMEM", grpc.StatusCode.INTERNAL, ["publish host ports", "sandbox", "ENOMEM"]),
    ("net.attach.done=error:EIO", grpc.StatusCode.INTERNAL, ["attach sandbox", "EIO"]),
    ("run.pause=error:EIO", grpc.StatusCode.INTERNAL, ["run.pause"]),
    ("run.ready=error:EIO", grpc.StatusCode.INTERNAL, ["run.ready"]),
]


def test_a_step_that_fails_leaves_nothing(victim, census):
    """Each in turn, and nothing is called in between: the failed call itself has undone what it did."""
    cri = victim.client
    for points, code, words in ERRORS:
        armed(victim, points)
        before = census.take_host()
        open_then = None
        for _ in range(2):
            refused = cri.refused("RunPodSandbox", config=config(victim))
            assert refused.code == code, (points, refused)
            assert all(word in refused.text for word in words), (points, refused)
            if open_then is None:
                census.settled(before)
                open_then = Counter(census.descriptors())  # with what a first request makes
        wait.until(lambda then=open_then: Counter(census.descriptors()) <= then, "end of the attempt's descriptors")
        assert not cri.pods()
    restart(victim)


def test_a_name_in_the_way_is_cleared_once(victim, census):
    armed(victim, "net.attach.veth=1*error:EEXIST")
    pod = victim.client.run_pod()
    ping(victim, pod)
    pod.remove()
    restart(victim)


def test_a_full_bridge_gets_a_second_one(victim, census):
    """For the pod that finds it full; it goes with the next start."""
    armed(victim, "net.attach.veth=1*error:EXFULL")
    pod = victim.client.run_pod()
    assert victim.network["bridge"] + "-1" in victim.node.inside.links()
    ping(victim, pod)
    pod.remove()
    wait.until(lambda: not [name for name in victim.node.inside.links() if name.startswith("pod")], "end of its link")
    restart(victim)


def test_a_failing_stop_is_repeated(victim, census):
    """Every step is tried although one fails, and the second call does what is left."""
    cri = victim.client
    for place in ("stop.containers", "stop.cgroups", "stop.files", "stop.record"):
        armed(victim, f"{place}=1*error:EIO")
        pod = cri.run_pod()
        refused = cri.refused("StopPodSandbox", pod_sandbox_id=pod.id)
        assert refused.code == grpc.StatusCode.INTERNAL and place in refused.text
        pod.stop()
        pod.remove()
    restart(victim)


def test_failpoints_are_loud_and_spelled(victim):
    """A typo must not make a test that tests nothing."""
    victim.terminate()
    for text in ("net.attach.vet=kill", "run.leased=die"):
        with environment(SWIFTLET_FAILPOINTS=text):
            code, output = victim.run_to_end()
        assert code != 0 and text.split("=")[0] in output, output
    armed(victim, "run.leased=9*kill")
    assert "a failpoint is armed" in victim.tail(50) and "run.leased=9*kill" in victim.tail(50)
    restart(victim)


def test_death_with_a_warm_pool(make_daemon):
    """While a spare pod is made, and while one becomes a pod: the next daemon has a full pool, and nothing besides."""
    size = 3
    daemon = make_daemon(network={"pool": size})

    def full() -> bool:
        links = [link for name, link in daemon.node.inside.links().items() if name.startswith("pod")]
        return len(links) == size and all(link.get("ifalias") == "podnet:spare" for link in links)

    def count() -> dict:
        """Names follow from addresses, which go round."""
        wait.until(full, "full pool")
        return {name: found.total() for name, found in Census(daemon).take_host().items()}

    before = steady(count)
    for place, visit in (("net.attach.veth", size + 1), ("net.attach.inside", size + 1), ("net.attach.host", 1),
                         ("net.attach.done", 1)):
        armed(daemon, f"{place}={visit}*kill")
        count()
        request = daemon.client.pod_config()

        def run(request=request):
            daemon.client.run_pod(request)
            wait.until(lambda: not daemon.alive, "death while the pool is filled")
            daemon.client.call("Version")

        dies(daemon, run)
        restart(daemon)
        pod = daemon.client.run_pod(request)
        assert [found.id for found in daemon.client.pods()] == [pod.id] and pod.ready
        ping(daemon, pod)
        pod.stop()
        pod.remove()
        wait.until(lambda: count() == before, f"the same count after {place}")


@contextlib.contextmanager
def environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
