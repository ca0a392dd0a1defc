"""Pods of many nodes (NETWORK.md 5.2, 7): three nodes with a daemon each, on two links with a router between."""

import contextlib
import itertools
import json
import socket

import pytest

from lib import wait
from lib.cluster import CLUSTER, Cluster, Echo, PodSpace, Talk, Watcher, churn, interrupt, together, translations

FAMILIES = (4, 6)


@pytest.fixture
def cluster(programs):
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def pods(cluster):
    """Makes pods by node name; the namespaces are let go at the end."""
    with contextlib.ExitStack() as stack:
        def make(name: str) -> PodSpace:
            pod = PodSpace(cluster.daemons[name].client.run_pod())
            stack.callback(pod.close)
            return pod

        yield make


def condition(daemon, kind: str):
    return next(c for c in daemon.client.call("Status").status.conditions if c.type == kind)


@contextlib.contextmanager
def echo(space, address: str):
    server = Echo(space, address)
    try:
        yield server
    finally:
        server.close()


def check_pair(client: PodSpace, server: PodSpace, family: int) -> None:
    """The server sees the client's own address."""
    at = server.addresses[family]
    with echo(server.space, at) as listening, client.space.connect(at, listening.port) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert listening.peers == [client.addresses[family]]


def check_from_node(node, server: PodSpace, family: int) -> str:
    """A node itself reaches another node's pod; under which address is told."""
    at = server.addresses[family]
    with echo(server.space, at) as listening, node.inside.connect(at, listening.port) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        return listening.peers[0]


def check_full_packets(client: PodSpace, server: PodSpace, family: int, mtu: int) -> None:
    """Packets as large as the pod's MTU arrive, unfragmented by anybody; and a transfer of many goes through."""
    links = {link["ifname"]: link for link in client.space.json("ip", "-j", "link")}
    assert links["eth0"]["mtu"] == mtu
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    size = mtu - (28 if family == 4 else 48)

    def bind(address):
        def body():
            made = socket.socket(kind, socket.SOCK_DGRAM)
            if family == 4:
                made.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: never fragment
            else:
                made.setsockopt(socket.IPPROTO_IPV6, 62, 1)  # IPV6_DONTFRAG
            made.bind((address, 0))
            made.settimeout(60)
            return made
        return body

    with (server.space.call(bind(server.addresses[family])) as there,
          client.space.call(bind(client.addresses[family])) as here):
        here.sendto(b"x" * size, there.getsockname())
        assert len(there.recv(65536)) == size
        with pytest.raises(OSError):
            here.sendto(b"x" * (size + 1), there.getsockname())
    with (echo(server.space, server.addresses[family]) as listening,
          client.space.connect(server.addresses[family], listening.port) as connection):
        for _ in range(8):  # never more under way than sockets hold: who echoes waits for who reads
            connection.sendall(b"y" * (1 << 15))
            left = 1 << 15
            while left:
                part = connection.recv(left)
                assert part, "closed by the other end"
                left -= len(part)


def datagrams(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    made.settimeout(60)
    return made


def tunnel_peers(node) -> int:
    lines = node.inside.run("bridge", "fdb", "show", "dev", "podvx0").splitlines()
    return len([line for line in lines if " dst " in line])


@pytest.mark.parametrize("backend", ["host-gw", "vxlan", "auto"])
def test_pods_of_all_nodes_reach_each_other_without_nat(cluster, pods, backend):
    cluster.start(backend)
    names = "ab" if backend == "host-gw" else "abc"  # a router between cannot know pods
    cluster.wait_for_routes(names, 2 * (len(names) - 1))
    made = {name: pods(name) for name in names}
    for (one, other), family in itertools.product(itertools.permutations(names, 2), FAMILIES):
        check_pair(made[one], made[other], family)
        seen = check_from_node(cluster.nodes[one], made[other], family)
        node = cluster.nodes[one]
        own = node.address if family == 4 else node.address6
        tunnel = cluster.blocks(one)[FAMILIES.index(family)].split("/")[0]
        assert seen == (tunnel if is_tunnelled(backend, one, other) else own)
    for name in names:
        assert not translations(cluster.nodes[name], CLUSTER)
    far = names[-1]
    for family in FAMILIES:
        check_full_packets(made["a"], made[far], family, 1500 if backend == "host-gw" else 1450)
    if backend == "host-gw":
        assert len(cluster.routes("c")) == 0
        output = cluster.daemons["c"].output
        wait.until(lambda: "not on the link" in output.read_text(), "the reason why a node is not reached")
    else:
        assert tunnel_peers(cluster.nodes["a"]) == (2 if backend == "vxlan" else 1)
        assert tunnel_peers(cluster.nodes["c"]) == 2


def is_tunnelled(backend: str, one: str, other: str) -> bool:
    return backend == "vxlan" or backend == "auto" and "c" in (one, other)


def test_strangers_do_not_reach_pods(cluster, pods):
    """The router is no node; nor does a source that it makes up help, since the way back leads elsewhere."""
    cluster.start("auto")
    cluster.wait_for_routes()
    pod = pods("a")
    router = cluster.fabric.space
    router.run("ip", "route", "add", "10.244.1.0/24", "via", cluster.nodes["a"].address)
    with echo(pod.space, pod.addresses[4]) as listening:
        with pytest.raises(OSError):
            router.connect(pod.addresses[4], listening.port, timeout=1).close()
        # Of node c, whose packets come by the tunnel.
        router.run("ip", "address", "add", "10.244.3.77/32", "dev", "lo")
        with pytest.raises(OSError):
            router.call(lambda: socket.create_connection(
                (pod.addresses[4], listening.port), timeout=1, source_address=("10.244.3.77", 0))).close()
        assert listening.peers == []
    # Not in a tunnel of its own either; node c's datagram, sent later, comes first.
    other = pods("c")
    (end,) = cluster.nodes["a"].inside.json("ip", "-j", "link", "show", "podvx0")
    router.run("ip", "link", "add", "forged", "address", "02:00:00:00:00:01", "type", "vxlan", "id", "1", "dstport",
               "4789", "local", "198.18.1.1", "remote", cluster.nodes["a"].address, "nolearning")
    router.run("ip", "link", "set", "forged", "up")
    router.run("ip", "route", "add", f"{pod.addresses[4]}/32", "dev", "forged", "src", "10.244.3.77")
    router.run("ip", "neighbour", "add", pod.addresses[4], "lladdr", end["address"], "dev", "forged", "nud",
               "permanent")
    with contextlib.closing(pod.space.call(lambda: datagrams(pod.addresses[4]))) as there:
        for space, address in ((router, "10.244.3.77"), (other.space, other.addresses[4])):
            with contextlib.closing(space.call(lambda address=address: datagrams(address))) as here:
                here.sendto(b"x", there.getsockname())
        assert there.recvfrom(16)[1][0] == other.addresses[4]


def test_what_is_taken_away_comes_back_and_foreign_routes_stay(cluster, pods):
    cluster.start("auto")
    cluster.wait_for_routes()
    node = cluster.nodes["a"].inside
    node.run("ip", "route", "add", "10.99.0.0/16", "via", cluster.nodes["b"].address, "proto", "static")
    there, across = pods("b"), pods("c")
    here = pods("a")
    with (echo(there.space, there.addresses[4]) as near, echo(across.space, across.addresses[6]) as far):
        talks = [Talk(here.space, there.addresses[4], near.port, patient=True),
                 Talk(here.space, across.addresses[6], far.port, patient=True)]
        for damage in (
                ("ip", "route", "del", "10.244.2.0/24"), ("ip", "-6", "route", "flush", "proto", "84"),
                ("ip", "link", "del", "podvx0"), ("ip", "neighbour", "flush", "dev", "podvx0", "nud", "permanent"),
                ("bridge", "fdb", "flush", "dev", "podvx0"), ("nft", "flush", "ruleset"),
                ("ip", "link", "set", "podvx0", "down")):
            node.run(*damage)
            wait.until(lambda: len(cluster.routes("a")) == 4 and tunnel_peers(cluster.nodes["a"]) == 1,
                       f"repair after {' '.join(damage)}")
            for talk in talks:
                talk.goes_on()
        assert "10.99.0.0/16" in node.run("ip", "route", "show", "proto", "static")
        node.run("ip", "link", "set", "uplink", "down")
        cluster.nodes["a"].up()
        wait.until(lambda: len(cluster.routes("a")) == 4, "routes after the underlay went and came")
        for talk in talks:
            talk.goes_on()
            talk.end()
    # Somebody's own route to a node's pods is not replaced, and the others' are set all the same.
    cluster.write([])
    wait.until(lambda: not cluster.routes("a"), "no peers, no routes")
    assert "podvx0" in node.links()
    node.run("ip", "route", "add", "10.244.2.0/24", "via", cluster.nodes["b"].address, "proto", "static")
    cluster.write()
    wait.until(lambda: len(cluster.routes("a")) == 3, "routes but for the foreign one")
    assert "proto static" in node.run("ip", "route", "show", "10.244.2.0/24")


def test_the_file_is_followed_and_a_broken_one_changes_nothing(cluster):
    cluster.start("host-gw")
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    cluster.wait_for_routes("a", 2)
    daemon = cluster.daemons["a"]
    cluster.file.write_text("[{ this is not")  # in place
    wait.until(lambda: condition(daemon, "RegistryStale").status, "the condition")
    assert "nodes.json" in condition(daemon, "RegistryStale").message
    assert condition(daemon, "NetworkReady").status and len(cluster.routes("a")) == 2
    interrupt(daemon)  # starts with what was good
    cluster.wait_for_routes("a", 2)
    wait.until(lambda: condition(daemon, "NetworkReady").status, "the network")
    cluster.file.write_text(json.dumps([b.record(["10.244.7.0/24"])]))  # in place, and another block
    wait.until(lambda: list(cluster.routes("a")) == ["10.244.7.0/24"], "the new block's route")
    wait.until(lambda: not condition(daemon, "RegistryStale").status, "the end of the condition")
    records = [
        b.record(["10.244.7.0/24"]), dict(b.record(["10.244.1.128/25"]), name="overlapping", address4="198.18.1.99"),
        dict(b.record(["10.244.7.0/25"]), name="second", address4="198.18.1.98"),
        dict(b.record(["10.245.0.0/24"]), name="outside", address4="198.18.1.97"),
        dict(b.record(["10.244.8.0/24"]), name="own-address", address4=a.address),
        dict(b.record(["10.244.9.0/24"]), name="good", address4="198.18.1.96")]
    cluster.write(records)
    wait.until(lambda: set(cluster.routes("a")) == {"10.244.7.0/24", "10.244.9.0/24"}, "good records' routes")

    def is_told(name: str) -> bool:  # after the routes
        return any("a peer is refused" in line and f"node={name}" in line
                   for line in daemon.output.read_text().splitlines())

    for name in ("overlapping", "second", "outside", "own-address"):
        wait.until(lambda name=name: is_told(name), f"the refusal of {name}")


@pytest.mark.parametrize("backend", ["host-gw", "vxlan"])
def test_connections_outlive_the_daemon(cluster, pods, backend):
    tunnel = {"vni": 77, "port": 8472, "device": "tun0", "udp_checksum": True}
    cluster.start(backend, **({} if backend == "host-gw" else {"vxlan": tunnel}))
    names = "ab" if backend == "host-gw" else "ac"
    cluster.wait_for_routes(names, 2 if backend == "host-gw" else 4)
    if backend == "vxlan":
        (link,) = cluster.nodes["a"].inside.json("ip", "-j", "-d", "link", "show", "tun0")
        data = link["linkinfo"]["info_data"]
        assert (data["id"], data["port"], data["udp_csum"], data["learning"]) == (77, 8472, True, False)
        assert link["address"] == "0a:58:0a:f4:01:00" and link["mtu"] == 1450
    client, server = (pods(name) for name in names)
    talks = []
    with contextlib.ExitStack() as stack:
        for family in FAMILIES:
            listening = stack.enter_context(echo(server.space, server.addresses[family]))
            talks.append(Talk(client.space, server.addresses[family], listening.port))
        for name in names:
            interrupt(cluster.daemons[name])
            for talk in talks:
                talk.goes_on()
        assert all(talk.end() >= 6 for talk in talks)  # three after each death
    assert not translations(cluster.nodes["a"], CLUSTER)


@pytest.fixture
def cluster_with_etcd(cluster):
    """Three nodes that get their blocks from etcd; a silent one counts as such after 2 s."""
    return cluster.with_etcd()


def test_a_tunnel_over_ipv6(cluster, pods):
    """Nodes without IPv4 addresses carry both families."""
    for node in cluster.nodes.values():
        node.inside.run("ip", "-4", "address", "flush", "dev", "uplink")
        node.address = None
    cluster.start("vxlan")
    cluster.wait_for_routes("ac")
    client, server = pods("a"), pods("c")
    for family in FAMILIES:
        check_pair(client, server, family)
        check_from_node(cluster.nodes["a"], server, family)
        check_full_packets(client, server, family, 1430)


def test_without_a_backend_all_that_led_to_other_nodes_goes(cluster):
    cluster.start("auto")
    cluster.wait_for_routes("a")
    daemon, node = cluster.daemons["a"], cluster.nodes["a"].inside
    node.run("ip", "route", "add", "10.99.0.0/16", "via", cluster.nodes["b"].address)
    assert daemon.terminate() == 0
    assert len(cluster.routes("a")) == 4  # traffic goes on without a daemon
    daemon.configure({key: value for key, value in daemon.network.items() if key not in ("backend", "nodes")})
    daemon.start()
    wait.until(lambda: not cluster.routes("a") and "podvx0" not in node.links(), "the end of routes and tunnel")
    assert "10.99.0.0/16" in node.run("ip", "route")
    wait.until(lambda: "nodes4" not in node.run("nft", "list", "ruleset"), "the end of the nodes' set")


def registry(cluster, lease: int = 2, **more) -> dict:
    return {"etcd": {"endpoints": [cluster.etcd.url], "lease_seconds": lease}, **more}


def test_blocks_from_etcd_and_connections_that_outlive_everything(cluster_with_etcd, pods):
    """No connection ends while daemons die, the store is away, or a node is silent and comes back."""
    cluster = cluster_with_etcd
    cluster.start("auto", nodes=registry(cluster), pod_cidrs=["auto"])
    cluster.wait_for_routes()
    client, near, far = pods("a"), pods("b"), pods("c")
    talks = []
    with contextlib.ExitStack() as stack:
        for server, family in ((near, 4), (near, 6), (far, 4), (far, 6)):
            listening = stack.enter_context(echo(server.space, server.addresses[family]))
            talks.append(Talk(client.space, server.addresses[family], listening.port))

        def all_go_on():
            for talk in talks:
                talk.goes_on()

        all_go_on()
        interrupt(cluster.daemons["b"])
        all_go_on()
        cluster.etcd.kill()
        daemon = cluster.daemons["a"]
        wait.until(lambda: condition(daemon, "RegistryStale").status, "the condition")
        assert condition(daemon, "NetworkReady").status
        interrupt(daemon)  # starts with what it knew
        wait.until(lambda: condition(daemon, "NetworkReady").status, "the network")
        cluster.wait_for_routes("a")
        all_go_on()
        fresh = pods("a")  # the store is not needed to run pods
        check_pair(fresh, near, 4)
        cluster.etcd.start()
        wait.until(lambda: not any(condition(one, "RegistryStale").status for one in cluster.daemons.values()),
                   "all daemons back at the store", 60)
        all_go_on()
        cluster.daemons["c"].kill()
        wait.until(lambda: "/podnet/live/c" not in keys(cluster), "the end of c's lease", 60)
        all_go_on()
        cluster.daemons["c"].start()
        wait.until(lambda: "/podnet/live/c" in keys(cluster), "c's new lease", 60)
        all_go_on()
        assert all(talk.end() > 10 for talk in talks)
    for node in cluster.nodes.values():
        assert not translations(node, CLUSTER)


def test_etcd_by_tls_with_certificates_on_both_sides(cluster):
    etcd = cluster.with_etcd(tls=True).etcd
    files = etcd.files
    good = cluster.make("a", "host-gw", pod_cidrs=["auto"], nodes={"etcd": {"endpoints": [etcd.url], **files}})
    bad = cluster.make("b", "host-gw", pod_cidrs=["auto"], nodes={"etcd": {"endpoints": [etcd.url], "ca": files["ca"]}})
    ugly = cluster.make("c", "host-gw", pod_cidrs=["auto"], nodes={"etcd": {"endpoints": [etcd.url]}})
    together(good.start, bad.start, ugly.start)
    wait.until(lambda: condition(good, "NetworkReady").status, "blocks by TLS")
    wait.until(lambda: not condition(good, "RegistryStale").status, "the store's answer")
    # A server that wants a certificate only closes the connection; one that is not trusted is named.
    for daemon, words in ((bad, f"{etcd.url}: "), (ugly, "its certificate is not trusted")):
        def trouble(daemon=daemon, words=words) -> bool:  # a busy machine may be too slow for the first attempt
            found = condition(daemon, "RegistryStale")
            return found.status and words in found.message

        wait.until(trouble, "trouble")
        assert not condition(daemon, "NetworkReady").status


def test_what_stands_in_the_networks_way_is_named_and_waited_for(cluster_with_etcd):
    cluster = cluster_with_etcd
    node = cluster.nodes["a"].inside
    node.run("ip", "link", "add", "podbr0", "type", "bridge")
    daemon = cluster.make("a", "host-gw", nodes=registry(cluster), pod_cidrs=["auto"]).start()
    wait.until(lambda: condition(daemon, "NetworkReady").reason == "PodNetworkFailed", "the reason")
    assert "podbr0" in condition(daemon, "NetworkReady").message
    node.run("ip", "link", "delete", "podbr0")
    wait.until(lambda: condition(daemon, "NetworkReady").status, "the network")


def keys(cluster) -> list[str]:
    import base64
    import urllib.request

    def ask():
        body = json.dumps({"key": base64.b64encode(b"/podnet/").decode(),
                           "range_end": base64.b64encode(b"/podnet0").decode(), "keys_only": True}).encode()
        with urllib.request.urlopen(f"{cluster.etcd.url}/v3/kv/range", body, timeout=60) as answer:
            return json.load(answer)

    return [base64.b64decode(pair["key"]).decode() for pair in cluster.fabric.space.call(ask).get("kvs", [])]


def test_a_silent_node_loses_its_routes_after_a_while(cluster_with_etcd):
    cluster = cluster_with_etcd
    cluster.start("host-gw", nodes=registry(cluster, keep_silent_seconds=1), pod_cidrs=["auto"])
    cluster.wait_for_routes("b", 2)

    def both() -> set | None:  # who is starved for as long as its lease is silent for a while, too
        found = set(cluster.routes("a"))
        return found if len(found) == 2 else None

    blocks = wait.until(both, "routes on node a")
    cluster.daemons["b"].kill()
    wait.until(lambda: not cluster.routes("a"), "the end of the silent node's routes", 60)
    cluster.daemons["b"].start()
    wait.until(lambda: set(cluster.routes("a")) == blocks, "the same routes")


def test_without_blocks_there_is_no_network_until_the_store_answers(cluster_with_etcd):
    cluster = cluster_with_etcd
    cluster.etcd.kill()
    # A lease that no busy machine lets run out: whoever comes then has the name.
    daemon = cluster.make("a", "host-gw", nodes=registry(cluster, lease=30), pod_cidrs=["auto"]).start()
    wait.until(lambda: "registry" in condition(daemon, "NetworkReady").message, "the reason")
    assert condition(daemon, "NetworkReady").reason == "PodCIDRUnknown"
    refused = daemon.client.refused("RunPodSandbox", config=daemon.client.pod_config())
    assert refused.code.name == "UNAVAILABLE" and "pod network" in refused.text
    cluster.etcd.start()
    wait.until(lambda: condition(daemon, "NetworkReady").status, "the network", 60)
    daemon.client.run_pod()
    # A second node of that name is refused, and says who has it.
    other = cluster.make("b", "host-gw", nodes=registry(cluster), pod_cidrs=["auto"], node_name="a").start()
    wait.until(lambda: cluster.nodes["a"].address in condition(other, "RegistryStale").message, "the refusal")
    assert not condition(other, "NetworkReady").status
    assert condition(daemon, "NetworkReady").status


def test_addresses_are_unique_in_the_cluster_at_every_instant(cluster_with_etcd):
    """Pods come and go at random on three nodes while their daemons are killed at random."""
    cluster = cluster_with_etcd
    cluster.start("auto", nodes=registry(cluster), pod_cidrs=["auto"], pool=4)
    cluster.wait_for_routes()
    watcher = Watcher(list(cluster.daemons.values()))
    attached = churn(cluster, attachments=100, seconds=30, least=21, seed=3)
    wait.until(lambda: watcher.rounds > 10, "looks at the pods")
    watcher.end()
    assert watcher.most > 20
    assert min(attached.values()) > 20, attached
