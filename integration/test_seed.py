"""The seed document, sentence by sentence, on one node. `SEED` names each one's tests, here and in other files."""

import ast
import concurrent.futures
import contextlib
import ipaddress
import os
import pathlib
import socket
import threading

import grpc
import pytest

from lib import wait
from lib.capture import Capture
from lib.cri import SLEEPER
from lib.netns import Node
from lib.pods import addresses, fetch, inside, leased, serve

HERE = pathlib.Path(__file__).parent
FILES = ["test_seed.py", "test_seed_pause.py", "test_cluster.py"]
# The document's words, and the tests that prove them.
SEED = {
    "Each pod will have its own network namespace": ["test_each_pod_has_its_own_network_namespace"],
    "with routing, networkdevices": ["test_a_namespace_has_routing_and_network_devices"],
    "Connection to default namespace to host is done through veth - Link to bridge on host network": [
        "test_connection_to_the_hosts_namespace_is_a_veth_link_to_the_bridge"],
    "similar like on docker to docker0": ["test_the_bridge_is_the_pods_gateway_as_docker0_is"],
    "This interface pair functions like a virtual point-to-point ethernet connection": [
        "test_the_veth_pair_is_a_point_to_point_ethernet_connection"],
    "Every container is in the same Network Namespace, so they can communicate through localhost": [
        "test_every_container_is_in_the_same_namespace_and_talks_through_localhost"],
    "pods on a single node as well as pods on a topological remote can establish communication at all times": [
        "test_pods_on_a_single_node_can_establish_communication_at_all_times", "test_connections_outlive_the_daemon",
        "test_blocks_from_etcd_and_connections_that_outlive_everything"],
    "Each pod receives a unique IP address, valid anywhere in the cluster": [
        "test_each_pod_receives_a_unique_ip_address", "test_addresses_are_unique_in_the_cluster_at_every_instant"],
    "Kubernetes requires this address to not be subject to network address translation": [
        "test_the_address_is_not_subject_to_nat", "test_pods_of_all_nodes_reach_each_other_without_nat"],
    "Pods on the same node through virtual bridge": ["test_pods_on_the_same_node_talk_through_the_virtual_bridge"],
    "local bridge networks of all nodes need to be connected": [
        "test_pods_of_all_nodes_reach_each_other_without_nat",
        "test_what_is_taken_away_comes_back_and_foreign_routes_stay"],
    "there needs to be an IPAM (IP-Address Managemenet) so addresses are only used once": [
        "test_ipam_uses_an_address_only_once", "test_ipam_survives_the_daemon",
        "test_addresses_are_unique_in_the_cluster_at_every_instant"],
    "The need to be routes so, that each bridge can communicate with the bridge on the other network": [
        "test_routes_lead_to_each_pod_by_the_bridge", "test_what_is_taken_away_comes_back_and_foreign_routes_stay"],
    "There needs to be a rule for incoming network": [
        "test_incoming_from_the_cluster_is_allowed", "test_incoming_from_outside_is_dropped",
        "test_incoming_with_a_spoofed_cluster_source_is_dropped", "test_strangers_do_not_reach_pods"],
    "A tunnel needs to be set up to the outside world": [
        "test_the_way_to_the_outside_world", "test_pods_of_all_nodes_reach_each_other_without_nat"],
    "Holds the network - namespace for the pod": [
        "test_pause_holds_the_network_namespace", "test_without_pause_the_namespace_is_gone"],
    "Gets started first and falls asleep later": ["test_pause_gets_started_first_and_falls_asleep"],
    "Will still be there, when the other containers die": ["test_pause_is_still_there_when_the_other_containers_die"],
    "ctr -n k8s.io c list | grep pause": ["test_a_listing_shows_pause"],
}


def defined_tests(file: str) -> set[str]:
    """The tests of a file here, as pytest would collect them."""
    return {node.name for node in ast.parse((HERE / file).read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("sentence", SEED)
def test_each_sentence_has_its_test(sentence):
    assert SEED[sentence] and set(SEED[sentence]) <= set().union(*map(defined_tests, FILES))


# General


def test_each_pod_has_its_own_network_namespace(cri, daemon):
    made = [cri.run_pod() for _ in range(3)]
    spaces = [os.readlink(f"/proc/{pod.info()['pid']}/ns/net") for pod in made]
    assert len(set(spaces)) == 3
    assert f"net:[{daemon.node.inside.inode}]" not in spaces and os.readlink("/proc/self/ns/net") not in spaces
    for pod, space in zip(made, spaces):  # what runs in a pod is in the pod's, and sees no other pod's devices
        container = pod.run(SLEEPER)
        assert os.readlink(f"/proc/{container.info()['pid']}/ns/net") == space
        assert set(container.shell("ls /sys/class/net").split()) == {"eth0", "lo"}


def test_a_namespace_has_routing_and_network_devices(cri, daemon):
    pod = cri.run_pod()
    v4, v6 = addresses(pod)
    with inside(pod) as space:
        links = space.links()
        found = {link["ifname"]: {(a["local"], a["scope"]) for a in link["addr_info"]}
                 for link in space.json("ip", "-j", "address")}
        routes = space.json("ip", "-j", "route"), space.json("ip", "-j", "-6", "route")
    assert set(links) == {"lo", "eth0"}
    assert "UP" in links["lo"]["flags"] and "UP" in links["eth0"]["flags"]
    assert {("127.0.0.1", "host"), ("::1", "host")} == found["lo"]
    assert {(v4, "global"), (v6, "global")} <= found["eth0"]
    for family in routes:
        (default,) = [route for route in family if route["dst"] == "default"]
        assert default["dev"] == "eth0" and default["gateway"]
    assert links["eth0"]["address"] == "0a:58:" + ipaddress.ip_address(v4).packed.hex(":")
    for address, block in zip((v4, v6), daemon.network["pod_cidrs"]):
        assert ipaddress.ip_address(address) in ipaddress.ip_network(block)


def test_connection_to_the_hosts_namespace_is_a_veth_link_to_the_bridge(cri, daemon):
    pod = cri.run_pod()
    links = daemon.node.inside.links()
    host = links[pod.info()["hostInterface"]]
    assert host["linkinfo"]["info_kind"] == "veth" and host["master"] == daemon.network["bridge"]
    assert links[daemon.network["bridge"]]["linkinfo"]["info_kind"] == "bridge"
    with inside(pod) as space:
        eth0 = space.links()["eth0"]
        assert eth0["linkinfo"]["info_kind"] == "veth"
        # each end names the other by its index, and the namespace it is in by an id
        assert (eth0["link_index"], host["link_index"]) == (host["ifindex"], eth0["ifindex"])
        assert int(daemon.node.inside.json("ip", "-j", "link", "show", host["ifname"])[0]["link_netnsid"]) >= 0
    assert pod.id in host["ifalias"] and host["group"] == "4242"
    # nothing of it is in the machine's own namespace, since the daemon's is another
    assert daemon.network["bridge"] not in os.listdir("/sys/class/net")


def test_the_bridge_is_the_pods_gateway_as_docker0_is(cri, daemon):
    pod = cri.run_pod()
    with inside(pod) as space:
        (default,) = [route for route in space.json("ip", "-j", "route") if route["dst"] == "default"]
    gateway = default["gateway"]
    (bridge,) = daemon.node.inside.json("ip", "-j", "address", "show", daemon.network["bridge"])
    assert gateway in {address["local"] for address in bridge["addr_info"]}
    assert pod.run(SLEEPER).execute("ping", "-c", "1", "-W", "30", gateway).exit_code == 0


def test_the_veth_pair_is_a_point_to_point_ethernet_connection(cri, daemon):
    """A frame of no protocol that anybody knows comes out at the other end, and at no other pod's."""
    one, other = cri.run_pod(), cri.run_pod()
    ends = [pod.info()["hostInterface"] for pod in (one, other)]
    frame = bytes.fromhex("ffffffffffff") + bytes.fromhex(one.info()["mac"].replace(":", "")) + b"\x88\xb5" + b"x" * 50
    node = daemon.node.inside
    with Capture(node, ends[0]) as near, Capture(node, ends[1]) as far, inside(one) as space:
        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
                sender.bind(("eth0", 0))
                sender.send(frame)

        space.call(send)
        assert near.wait_for(lambda seen: seen.kind == 0x88B5, "the frame at the host's end").data == frame
        assert not [seen for seen in far.frames() if seen.kind == 0x88B5]


def test_every_container_is_in_the_same_namespace_and_talks_through_localhost(cri):
    """http-echo in container 1, busybox in container 2."""
    pod = cri.run_pod()
    echo = serve(pod, "127.0.0.1:5678", name="http-echo", text="hello-world")
    busybox = pod.run(SLEEPER, name="busybox")
    spaces = {os.readlink(f"/proc/{container.info()['pid']}/ns/net") for container in (echo, busybox)}
    assert spaces == {os.readlink(f"/proc/{pod.info()['pid']}/ns/net")}
    assert busybox.shell("wget -q -O - http://localhost:5678/") == "hello-world\n"
    stranger = cri.run_pod().run(SLEEPER)  # who is in another pod has another localhost
    assert fetch(stranger, "127.0.0.1", 5678) == "" and fetch(stranger, pod.ip, 5678) == ""


# Pod-to-pod


def test_pods_on_a_single_node_can_establish_communication_at_all_times(make_daemon):
    """New connections in both directions and families, while the daemon is killed, absent and started, and while other
    pods come and go."""
    daemon = make_daemon()
    cri = daemon.client
    one, other = cri.run_pod(), cri.run_pod()
    for pod in (one, other):
        serve(pod, "[::]:8080")
    done, counts, failures = threading.Event(), {}, []

    def talk(source, target: str) -> None:
        with inside(source) as space:
            while not done.is_set():
                try:
                    assert "page" in space.fetch(target, 8080)
                except (OSError, AssertionError) as error:
                    failures.append(f"{target}: {error!r}")
                counts[target] = counts.get(target, 0) + 1

    targets = [(other, address) for address in addresses(one)] + [(one, address) for address in addresses(other)]
    with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
        talks = [pool.submit(talk, *pair) for pair in targets]

        def more(count: int) -> None:
            before = dict(counts)
            wait.until(lambda: all(counts.get(target, 0) >= before.get(target, 0) + count for _, target in targets),
                       "more connections")

        try:
            more(5)
            daemon.kill()
            more(20)
            daemon.start()
            cri.run_pod().remove()
            more(5)
        finally:
            done.set()
        for talk in talks:
            talk.result()
    assert not failures, failures[:5]


def test_each_pod_receives_a_unique_ip_address(cri):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: cri.run_pod(), range(16)))
    given = [address for pod in made for address in addresses(pod)]
    assert len(given) == 32 and len(set(given)) == 32
    for pod in made[:4]:  # and each pod's own interface says so
        with inside(pod) as space:
            (eth0,) = space.json("ip", "-j", "address", "show", "eth0")
            found = {address["local"] for address in eth0["addr_info"]}
        assert set(addresses(pod)) <= found


@pytest.mark.parametrize("family", [4, 6])
def test_the_address_is_not_subject_to_nat(cri, daemon, family):
    """The server sees the client's own address, and the packets carry both pods' own at both ends."""
    server, client = cri.run_pod(), cri.run_pod()
    serve(server, "[::]:8080")
    at, own = (addresses(pod)[0 if family == 4 else 1] for pod in (server, client))
    container = client.run(SLEEPER)
    assert fetch(container, at, 8080) == "page\n"
    seen = fetch(container, at, 8080, "/cgi-bin/who").strip().strip("[]").removeprefix("::ffff:")
    assert ipaddress.ip_address(seen) == ipaddress.ip_address(own)
    with inside(server) as there, inside(client) as here, Capture(there, "eth0") as far, Capture(here, "eth0") as near:
        assert fetch(container, at, 8080) == "page\n"
        for end in (far, near):
            wait.until(lambda: end.flow(own, at) and end.flow(at, own), "both directions of the flow")
            assert {own, at} == {address for frame in end.frames() if 8080 in frame.ports
                                 for address in (frame.source, frame.target)}


@pytest.mark.parametrize("family", [4, 6])
def test_pods_on_the_same_node_talk_through_the_virtual_bridge(cri, daemon, family):
    server, client = cri.run_pod(), cri.run_pod()
    serve(server, "[::]:8080")
    at, own = (addresses(pod)[0 if family == 4 else 1] for pod in (server, client))
    container = client.run(SLEEPER)
    with Capture(daemon.node.inside, daemon.network["bridge"]) as bridge, \
            Capture(daemon.node.inside, "uplink") as uplink:
        assert fetch(container, at, 8080) == "page\n"
        wait.until(lambda: bridge.flow(own, at) and bridge.flow(at, own), "both directions of the flow on the bridge")
        assert not uplink.flow(own, at) and not uplink.flow(at, own)


def test_ipam_uses_an_address_only_once(make_daemon):
    """Of a block with five addresses five pods get one each, a sixth is told why not, and a freed one rests."""
    daemon = make_daemon(load=False, network={"pod_cidrs": ["10.244.200.0/29", "fd44:200::/64"]})
    cri = daemon.client
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        made = list(pool.map(lambda _: cri.run_pod(), range(5)))
    given = [addresses(pod) for pod in made]
    assert len(set(given)) == 5 and sorted(leased(daemon)) == sorted(a for pair in given for a in pair)
    refused = cri.refused("RunPodSandbox", config=cri.pod_config())
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED and "10.244.200.0/29" in refused.text
    made[0].remove()
    assert not set(given[0]) & set(leased(daemon))
    refused = cri.refused("RunPodSandbox", config=cri.pod_config())  # its neighbours may still think it is there
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(cri.pods()) == 4


def test_ipam_survives_the_daemon(make_daemon):
    daemon = make_daemon(load=False)
    first = [addresses(daemon.client.run_pod()) for _ in range(3)]
    daemon.kill()
    daemon.start()
    second = [addresses(daemon.client.run_pod()) for _ in range(3)]
    assert len(set(first + second)) == 6


@pytest.mark.parametrize("family", [4, 6])
def test_routes_lead_to_each_pod_by_the_bridge(cri, daemon, family):
    pod = cri.run_pod()
    address = addresses(pod)[0 if family == 4 else 1]
    (route,) = daemon.node.inside.json("ip", "-j", "route", "get", address)
    assert route["dev"] == daemon.network["bridge"]
    serve(pod, "[::]:8080")
    assert "page" in daemon.node.inside.fetch(address, 8080)


# The rule for incoming network


@contextlib.contextmanager
def world_knows_the_pods(daemon, *own: str):
    """The world has routes to the pods by the node, and `own` addresses, for a while."""
    world = daemon.node.outside
    routes = [(block, Node.ADDRESS6 if ":" in block else Node.ADDRESS) for block in daemon.network["pod_cidrs"]]
    try:
        for block, node in routes:
            world.run("ip", "route", "add", block, "via", node)
        for address in own:
            world.run("ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        yield world
    finally:
        for block, _ in routes:
            world.run("ip", "route", "delete", block, check=False)
        for address in own:
            world.run("ip", "address", "delete", address, "dev", "lo", check=False)


def knock(space, target: str, source: str) -> bool:
    """Whether a connection from `source` is accepted."""
    try:
        space.call(lambda: socket.create_connection((target, 8080), timeout=0.7, source_address=(source, 0))).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("family", [4, 6])
def test_incoming_from_the_cluster_is_allowed(cri, daemon, family):
    server, client = cri.run_pod(), cri.run_pod()
    serve(server, "[::]:8080")
    at = addresses(server)[0 if family == 4 else 1]
    assert fetch(client.run(SLEEPER), at, 8080) == "page\n"
    assert "page" in daemon.node.inside.fetch(at, 8080)


def dropped(daemon, pod, source: str, family: int) -> None:
    """`source` outside knocks at the pod: the packet comes to the node, and not to the pod."""
    at = addresses(pod)[0 if family == 4 else 1]
    own = [] if source in (Node.OUTSIDE, Node.OUTSIDE6) else [source]
    with world_knows_the_pods(daemon, *own) as world, Capture(daemon.node.inside, "uplink") as uplink, \
            Capture(daemon.node.inside, pod.info()["hostInterface"]) as port:
        def arrived() -> bool:
            assert not knock(world, at, source)
            return bool(uplink.flow(source, at))

        # Once more, if need be: the first may have waited in vain for the node's link-layer address.
        wait.until(arrived, "the knock at the node")
        assert not port.flow(source, at)


@pytest.mark.parametrize("family", [4, 6])
def test_incoming_from_outside_is_dropped(cri, daemon, family):
    pod = cri.run_pod()
    serve(pod, "[::]:8080")
    dropped(daemon, pod, Node.OUTSIDE if family == 4 else Node.OUTSIDE6, family)


@pytest.mark.parametrize("family", [4, 6])
def test_incoming_with_a_spoofed_cluster_source_is_dropped(cri, daemon, family):
    """Also a source that is a living pod's of this node."""
    pod, neighbour = cri.run_pod(), cri.run_pod()
    serve(pod, "[::]:8080")
    dropped(daemon, pod, "10.244.77.9" if family == 4 else "fd44:77::9", family)
    dropped(daemon, pod, addresses(neighbour)[0 if family == 4 else 1], family)


@pytest.mark.parametrize("outside, expected", [(Node.OUTSIDE, Node.ADDRESS), (Node.OUTSIDE6, Node.ADDRESS6)])
def test_the_way_to_the_outside_world(cri, daemon, outside, expected):
    """Masquerade: the world sees the node, knows no pod, and would have nowhere to answer to."""
    container = cri.run_pod().run(SLEEPER)
    peers = []
    with contextlib.closing(daemon.node.outside.listen(outside)) as listener:
        listener.settimeout(60)

        def answer() -> None:
            connection, peer = listener.accept()
            peers.append(peer[0])
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nworld\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert fetch(container, outside, listener.getsockname()[1]) == "world\n"
        thread.join()
    assert peers == [expected]
