"""Host ports and who reaches whom, by RPC: what test_network.py and the kernel tests leave open."""

import contextlib
import socket

import grpc
import pytest

from lib import wait
from lib.cluster import Cluster, Echo, PodSpace
from lib.netns import Namespace, Node
from lib.stubs import pb

GROUP = "swiftlet.io/isolation-group"


@contextlib.contextmanager
def inside(pod):
    """A pod's network namespace."""
    space = Namespace.of(pod.info()["pid"])
    try:
        yield space
    finally:
        space.close()


def datagrams(space, address: str, port: int) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, port))
        made.settimeout(60)
        return made

    return space.call(make)


def published(cri, port: int, protocol=None, **more):
    mapping = pb.PortMapping(container_port=8080, host_port=port, protocol=protocol or pb.TCP)
    return cri.run_pod(port_mappings=[mapping], **more)


def counter(daemon, name: str) -> int:
    """Packets of one of our counters, as nft shows it."""
    for entry in daemon.node.inside.json("nft", "-j", "list", "counters")["nftables"]:
        if entry.get("counter", {}).get("name") == name:
            return entry["counter"]["packets"]
    raise AssertionError(f"no counter {name}")


@pytest.mark.parametrize("client, address", [(Node.OUTSIDE, Node.ADDRESS), (Node.OUTSIDE6, Node.ADDRESS6)])
def test_a_flow_of_datagrams_follows_the_pod(cri, daemon, client, address):
    """It begins before there is a pod, and finds each one that comes: Kubernetes #59286, plugins #1277."""
    anywhere = "::" if ":" in address else "0.0.0.0"
    with contextlib.closing(datagrams(daemon.node.outside, client, 4567)) as flow:
        flow.sendto(b"early", (address, 18090))
        for number in range(2):
            pod = published(cri, 18090, pb.UDP)
            with inside(pod) as space, contextlib.closing(datagrams(space, anywhere, 8080)) as server:
                def arrives() -> tuple | None:  # the old flow is forgotten a moment after the answer to RunPodSandbox
                    with contextlib.suppress(ConnectionError):
                        flow.sendto(b"question %d" % number, (address, 18090))
                    with contextlib.suppress(TimeoutError):
                        return server.recvfrom(100)
                    return None

                server.settimeout(0.2)
                text, peer = wait.until(arrives, "datagram in the pod")
                assert text == b"question %d" % number and peer[0] == client
                server.sendto(b"answer", peer)
                assert flow.recvfrom(100)[1][:2] == (address, 18090)
            pod.remove()


def test_a_port_of_a_process_is_refused_and_a_published_one_is_held(cri, daemon):
    with contextlib.closing(daemon.node.inside.listen(Node.ADDRESS, 18091)):
        refused = cri.refused("RunPodSandbox", config=cri.pod_config(
            port_mappings=[pb.PortMapping(container_port=80, host_port=18091)]))
        assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
        assert "18091" in refused.text and "a process of the node" in refused.text
    owner = published(cri, 18091)
    with pytest.raises(OSError):
        daemon.node.inside.listen("0.0.0.0", 18091)
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(
        port_mappings=[pb.PortMapping(container_port=80, host_port=18091)]))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and owner.id[:12] in refused.text


def test_what_is_not_published_is_not_reached_from_the_world(cri, daemon):
    pod = cri.run_pod()
    daemon.node.outside.run("ip", "route", "add", f"{pod.ip}/32", "via", Node.ADDRESS)
    try:
        before = counter(daemon, "incoming_dropped")
        with inside(pod) as space, contextlib.closing(space.listen("0.0.0.0", 8080)):
            def is_dropped() -> bool:  # once more, if need be: the first may wait for the node's link-layer address
                with pytest.raises(OSError):
                    daemon.node.outside.connect(pod.ip, 8080, timeout=0.5).close()
                return counter(daemon, "incoming_dropped") > before

            wait.until(is_dropped, "the drop in its counter")
            daemon.node.inside.connect(pod.ip, 8080).close()
    finally:
        daemon.node.outside.run("ip", "route", "delete", f"{pod.ip}/32")


def test_isolation_by_label_holds_across_a_restart(make_daemon):
    daemon = make_daemon(network={
        "isolation": "label", "direct_access": "none", "host_ports": {"reserve": True, "localhost": False},
        "masquerade6": False, "source_ips": [Node.ADDRESS]})
    cri = daemon.client
    blue = [cri.run_pod(labels={GROUP: "blue"}) for _ in range(2)]
    red, alone = cri.run_pod(labels={GROUP: "red"}), cri.run_pod()

    def reaches(client, server, patience: float = 60) -> bool:
        with inside(client) as here, inside(server) as there, contextlib.closing(there.listen("0.0.0.0", 8080)):
            try:
                here.connect(server.ip, 8080, timeout=patience).close()
                return True
            except OSError:
                return False

    for _ in range(2):
        assert reaches(*blue) and reaches(*reversed(blue))
        for pair in ((blue[0], red), (red, blue[0]), (alone, blue[0]), (blue[0], alone)):
            assert not reaches(*pair, patience=0.4)
        wait.until(lambda: counter(daemon, "isolated") > 0, "the drops in their counter")
        daemon.kill()
        daemon.start()
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(labels={GROUP: "no group"}))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and GROUP in refused.text
    cri.remove_all()
    wait.until(lambda: "group_" not in daemon.node.inside.run("nft", "list", "ruleset"), "the end of the groups")


@pytest.fixture
def cluster(programs):
    cluster = Cluster()
    yield cluster
    cluster.close()


def test_pods_of_other_nodes_reach_published_ports_only(cluster):
    """Over the link (b) and over the tunnel (c); with `isolation` nothing else, not even from pods of other nodes."""
    cluster.start("auto", isolation="full")
    cluster.wait_for_routes()
    with contextlib.ExitStack() as stack:
        def space(pod) -> PodSpace:
            made = PodSpace(pod)
            stack.callback(made.close)
            return made

        server = space(published(cluster.daemons["a"].client, 18092))
        clients = {name: space(cluster.daemons[name].client.run_pod()) for name in "bc"}
        for family in (4, 6):
            def own(name: str) -> str:
                node = cluster.nodes[name]
                return node.address if family == 4 else node.address6

            listening = Echo(server.space, server.addresses[family], 8080)
            stack.callback(listening.close)
            for name, client in clients.items():
                with client.space.connect(own("a"), 18092) as connection:
                    connection.sendall(b"x")
                    assert connection.recv(1) == b"x"
                assert listening.peers.pop() == own(name)  # a node's address is none of the cluster's pods
                with pytest.raises(OSError):
                    client.space.connect(server.addresses[family], 8080, timeout=0.3).close()
            assert not listening.peers
