"""Somebody takes away what the network stands on: it is back within a second, and the log says so (NETWORK.md 10)."""

import json
import os
import signal
import time
from collections import Counter

import pytest

from lib import wait
from lib.census import Census, difference
from lib.stubs import pb


@pytest.fixture(scope="module")
def home(programs, archives):
    """A daemon on a node of its own: this one's rules are flushed."""
    from lib.daemon import Daemon
    from lib.netns import Node

    node = Node()
    daemon = Daemon(node).start().prepare(archives)
    yield daemon
    daemon.close()
    node.close()


def ready(daemon) -> bool:
    conditions = daemon.client.call("Status").status.conditions
    return next(condition for condition in conditions if condition.type == "NetworkReady").status


def reach(daemon, pod, port: int = 8080) -> bool:
    try:
        return "page" in daemon.node.inside.fetch(pod.ip, port)
    except OSError:
        return False


def serve(pod):
    from test_network import serve as server
    return server(pod, "[::]:8080")


THEFTS = {
    "bridge": ["ip link delete {bridge}"],
    "bridge down": ["ip link set {bridge} down"],
    "address": ["ip address flush dev {bridge}"],
    "neighbour": ["ip neighbour del {ip} dev {bridge}"],
    "forwarding entry": ["bridge fdb del {mac} dev {port} master"],
    "port": ["ip link set {port} nomaster"],
    "port options": ["bridge link set dev {port} isolated off locked off learning on flood on"],
    "route": ["ip route del {cidr} dev {bridge}"],
    "routes": ["ip route flush dev {bridge}", "ip -6 route flush dev {bridge}"],
    "nft": ["nft flush ruleset"],
}


def test_whatever_is_taken_away_is_back_within_a_second(home):
    cri, node = home.client, home.node
    pod = cri.run_pod(port_mappings=[pb.PortMapping(container_port=8080, host_port=18080)])
    serve(pod)
    info = pod.info()
    names = dict(bridge=home.network["bridge"], ip=pod.ip, mac=info["mac"], port=info["hostInterface"],
                 cidr=home.network["pod_cidrs"][0])
    census = Census(home)
    for what, commands in THEFTS.items():
        before = census.node()
        for command in commands:
            node.inside.run(*command.format(**names).split())
        taken, looked, spent = time.monotonic(), [], []
        counted = {name: Counter(found) for name, found in before.items()}

        def is_back(counted=counted, looked=looked, spent=spent) -> bool:
            looked.append(time.monotonic())
            found = {n: Counter(f) for n, f in census.node().items()}
            spent.append(time.monotonic() - looked[-1])
            return not difference(counted, found)

        wait.until(is_back, f"repair of {what}")
        # A look takes programs and time: what was still missing was so when the last one but one had begun. Where they
        # take much more of it than 50 ms the machine has other things to do, and so has the daemon to wait for it.
        late = [taken, *looked[:-1]][-1] - taken
        assert late < max(1, 20 * max(spent)), f"repair of {what}: {late} s, {spent}"
        assert reach(home, pod), what
        assert "page" in node.outside.fetch(node.ADDRESS, 18080), what
        assert "page" in node.inside.fetch("127.0.0.1", 18080), what
        wait.until(lambda: ready(home), "the word of it")
    wait.until(lambda: home.tail(400).count("network repaired") >= len(THEFTS), "the log of it")
    pod.remove()


def test_a_foreign_drop_is_told(home):
    node = home.node
    node.inside.run("nft", "add table ip filter")
    node.inside.run("nft", "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }")

    def findings() -> list:
        answer = home.client.call("Status", verbose=True)
        return json.loads(answer.info["config"])["findings"]

    wait.until(lambda: [f["object"] for f in findings()] == ["ip filter FORWARD"], "the finding")
    wait.until(lambda: "ip filter FORWARD" in home.tail(50), "the log of it")  # said once it is noted
    node.inside.run("nft", "delete table ip filter")
    wait.until(lambda: not findings(), "end of the finding")


def test_a_pod_that_loses_its_interface_is_not_ready(home):
    """No silent attach: what runs in it has lost its connections, and kubelet makes a new sandbox."""
    pod = home.client.run_pod()
    port = pod.info()["hostInterface"]
    home.node.inside.run("ip", "link", "delete", port)
    wait.until(lambda: not pod.ready, "the truth")
    assert "interface is gone" in pod.info()["reason"]
    assert port not in home.node.inside.links()
    pod.stop()
    pod.remove()


def test_a_pause_that_dies_alone_is_not_ready(home):
    pod = home.client.run_pod()
    info = pod.info()
    os.kill(info["pid"], signal.SIGKILL)
    wait.until(lambda: not pod.ready, "the truth")
    assert pod.info()["reason"]
    wait.until(lambda: info["hostInterface"] not in home.node.inside.links(), "end of the interface")
    pod.stop()
    pod.remove()


def test_an_interface_lost_while_no_daemon_ran(home):
    pod, other = home.client.run_pod(), home.client.run_pod()
    port = pod.info()["hostInterface"]
    home.kill()
    home.node.inside.run("ip", "link", "delete", port)
    home.start()
    wait.until(lambda: not pod.ready, "the truth")
    assert "while no daemon ran" in pod.info()["reason"]
    assert other.ready
    for each in (pod, other):
        each.stop()
        each.remove()
