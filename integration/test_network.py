"""The pod network: NETWORK.md 13, as far as one node goes."""

import socket

import grpc
import pytest

from lib import wait
from lib.cri import SLEEPER
from lib.netns import Node
from lib.pods import addresses, in_pod, inside, serve
from lib.stubs import pb


def test_a_pod_reaches_itself_by_its_address(cri):
    pod = cri.run_pod()
    serve(pod, "8080")
    assert pod.run(SLEEPER, name="client").shell(f"timeout 50 wget -q -O - http://{pod.ip}:8080/") == "page\n"


def test_addresses_are_not_given_out_twice(cri):
    pods = [cri.run_pod() for _ in range(6)]
    given = [address for pod in pods for address in addresses(pod)]
    assert len(set(given)) == len(given)
    freed = addresses(pods[0])
    pods[0].remove()
    assert set(addresses(cri.run_pod())).isdisjoint(freed)  # it rests in quarantine


def test_a_stopped_pods_address_is_silent(cri, daemon):
    pod = cri.run_pod()
    serve(pod, "8080")
    address = pod.ip
    pod.stop()
    with pytest.raises(OSError):
        daemon.node.inside.connect(address, 8080, timeout=1).close()


def test_a_pod_cannot_speak_for_another_address(cri, daemon):
    """A spoofed source gets no answer: the port is locked to its addresses."""
    victim, attacker = cri.run_pod(), cri.run_pod()
    serve(victim, "8080")
    stolen = cri.run_pod().ip
    in_pod(daemon, attacker, "ip", "address", "add", f"{stolen}/32", "dev", "eth0")

    with inside(attacker) as space, pytest.raises(OSError):
        space.call(lambda: socket.create_connection(
            (victim.ip, 8080), timeout=1.5, source_address=(stolen, 0))).close()


def test_network_ready_tells_the_truth(make_daemon):
    """Without its bridge the network is either told not to be ready, or mended."""
    daemon = make_daemon(load=False)
    bridge = daemon.network["bridge"]

    def told() -> pb.RuntimeCondition:
        conditions = daemon.client.call("Status").status.conditions
        return next(condition for condition in conditions if condition.type == "NetworkReady")

    def truth() -> bool:
        condition = told()
        if not condition.status:
            assert condition.reason and bridge in condition.message
        return not condition.status or bridge in daemon.node.inside.links()

    assert told().status
    daemon.node.inside.run("ip", "link", "delete", bridge)
    wait.until(truth, "the truth")


def published(cri, host_port: int, **more):
    """A pod with a server on 8080 that is published on the node."""
    pod = cri.run_pod(port_mappings=[pb.PortMapping(container_port=8080, host_port=host_port, **more)])
    serve(pod, "[::]:8080")
    return pod


def test_a_host_port_is_reached_from_outside_and_from_the_node(cri, daemon):
    pod = published(cri, 18080)
    node = daemon.node
    assert "page" in node.outside.fetch(Node.ADDRESS, 18080)
    assert "page" in node.outside.fetch(Node.ADDRESS6, 18080)
    assert "page" in node.inside.fetch(Node.ADDRESS, 18080)
    assert "page" in node.inside.fetch("127.0.0.1", 18080)
    other = cri.run_pod().run(SLEEPER)
    assert other.shell(f"timeout 50 wget -q -O - http://{Node.ADDRESS}:18080/") == "page\n"
    pod.stop()
    with pytest.raises(OSError):
        node.outside.connect(Node.ADDRESS, 18080, timeout=1).close()


def test_a_host_port_sees_the_clients_address(cri, daemon):
    published(cri, 18081)
    assert Node.OUTSIDE in daemon.node.outside.fetch(Node.ADDRESS, 18081, "/cgi-bin/who")


def test_a_host_port_on_one_address_only(cri, daemon):
    published(cri, 18082, host_ip="127.0.0.1")
    assert "page" in daemon.node.inside.fetch("127.0.0.1", 18082)
    with pytest.raises(OSError):
        daemon.node.outside.connect(Node.ADDRESS, 18082, timeout=1).close()


def test_a_host_port_that_another_pod_has_is_refused(cri, daemon):
    first = published(cri, 18083)
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(
        port_mappings=[pb.PortMapping(container_port=80, host_port=18083)]))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and "18083" in refused.text
    assert "page" in daemon.node.outside.fetch(Node.ADDRESS, 18083)
    first.remove()
    published(cri, 18083)
    assert "page" in daemon.node.outside.fetch(Node.ADDRESS, 18083)


@pytest.mark.parametrize("mapping", [
    dict(container_port=80, host_port=70000), dict(container_port=0, host_port=80),
    dict(container_port=80, host_port=-1),
    dict(container_port=80, host_port=80, protocol=17), dict(container_port=80, host_port=80, host_ip="nonsense"),
])
def test_port_mappings_that_make_no_sense(cri, mapping):
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(port_mappings=[pb.PortMapping(**mapping)]))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_container_port_without_a_host_port_needs_nothing(cri):
    assert cri.run_pod(port_mappings=[pb.PortMapping(container_port=80)]).ready
