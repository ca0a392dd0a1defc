"""`swiftlet net`: the network as the kernel shows it, one pod's attachment, and the picture."""

import json
import os
import re
import socket
import subprocess
import xml.etree.ElementTree as tree

import pytest

from lib import wait
from lib.cluster import Cluster
from lib.cri import SLEEPER
from lib.pods import fetch, inside, serve
from lib.stubs import pb
from lib.swiftlet import Swiftlet

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def swiftlet(programs, daemon, tmp_path):
    return Swiftlet(programs / "swiftlet", daemon, tmp_path)


@pytest.fixture
def two(cri):
    """A server with a host port, and a client with two containers."""
    server = cri.run_pod(name="server", port_mappings=[pb.PortMapping(host_port=18081, container_port=8080)])
    serve(server, "8080")
    client = cri.run_pod(name="client")
    client.run(SLEEPER, name="main")
    client.run(SLEEPER, name="other")
    return server, client


def send(source: str, target: str) -> None:
    """One datagram from here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        sender.sendto(b"x", (target, 9))


def by_name(network: dict) -> dict[str, dict]:
    return {pod["name"]: pod for pod in network["pods"]}


def test_what_the_kernel_shows(swiftlet, daemon, two):
    server, client = two
    network = swiftlet.json("net")
    node = daemon.node.inside
    (bridge,) = network["bridges"]
    link = node.links()[daemon.network["bridge"]]
    assert (bridge["name"], bridge["index"], bridge["mtu"], bridge["mac"], bridge["up"]) == (
        link["ifname"], link["ifindex"], link["mtu"], link["address"], True)
    ports = [name for name, found in node.links().items() if found.get("master") == bridge["name"]]
    assert bridge["ports"] == len(ports) and bridge["portLimit"] == 1023
    assert network["ready"] and network["provider"] == "bridge"
    assert network["node"]["uplink"] == "uplink" and daemon.node.ADDRESS in network["node"]["addresses"]
    assert [block["cidr"] for block in network["cidrs"]] == daemon.network["pod_cidrs"]
    assert network["cidrs"][0]["leaked"] == 0 and network["counters"]['podnet_leases{state="bound"}'] == 2
    assert network["counters"]['podnet_attach_seconds_count{step="all"}'] >= 2
    pods = by_name(network)
    assert set(pods) == {"server", "client"}
    for pod in (server, client):
        shown = pods[pod.config.metadata.name]
        there = node.links()[shown["hostInterface"]]
        assert (shown["hostIndex"], shown["bridge"], shown["link"]) == (there["ifindex"], bridge["name"], "up")
        pid = pod.info()["pid"]
        assert shown["pausePid"] == pid and shown["networkNamespace"] == os.stat(f"/proc/{pid}/ns/net").st_ino
        assert shown["ips"][0] == pod.ip and shown["lease"] == "bound" and shown["drift"] == []
    assert [(one["name"], one["running"]) for one in pods["client"]["containers"]] == [("main", True), ("other", True)]
    assert pods["server"]["ports"] == [
        {"protocol": "tcp", "hostIP": "", "hostPort": 18081, "containerPort": 8080}]
    before = pods["client"]["traffic"]["receivedBytes"]
    container = client.run(SLEEPER, name="fetcher")
    assert fetch(container, server.ip, 8080) == "page\n"
    assert by_name(swiftlet.json("net"))["client"]["traffic"]["receivedBytes"] > before
    table = swiftlet("net")
    for word in (bridge["name"], client.ip, "18081->8080/tcp", str(client.info()["pid"])):
        assert word in table, table


def test_one_pod_with_the_times_of_its_steps(swiftlet, daemon, two):
    server, client = two
    one = swiftlet.json("net", "client")
    assert one["id"] == client.id and one["mac"].startswith("0a:58:")
    steps = one["attachMilliseconds"]
    assert steps["all"] > 0 and set(steps) > {"all"} and all(0 <= time <= 60_000 for time in steps.values())
    text = swiftlet("net", "client")
    for word in (client.ip, one["hostInterface"], f"net:[{one['networkNamespace']}]", "STEP", "all"):
        assert word in text, text
    assert swiftlet.refused(3, "net", "nobody")
    daemon.kill()
    daemon.start()
    again = swiftlet.json("net", "client")
    assert again["attachMilliseconds"] == {} and again["drift"] == [] and again["ips"] == one["ips"]


def test_the_picture(swiftlet, daemon, two, tmp_path):
    server, client = two
    text = swiftlet("net", "graph", "--text")
    lines = text.splitlines()
    assert {len(line) for line in lines} == {100}, text
    for pod in two:
        assert f"┆pause {pod.info()['pid']}┆" in text and pod.ip in text
    assert "[main] [other]" in text and daemon.network["bridge"] in text and daemon.node.ADDRESS in text
    path = tmp_path / "network.svg"
    assert swiftlet("net", "graph", "--svg", str(path)) == ""
    document = tree.parse(path).getroot()
    words = [element.text for element in document.iter(f"{SVG}text")]
    assert words.count("pause") == 3  # one in the legend
    for word in ("server", "client", "main", "other", server.ip, client.ip, daemon.network["bridge"], "the world"):
        assert word in words, words
    image = tmp_path / "network.png"
    subprocess.run(["rsvg-convert", "-o", image, path], check=True, timeout=120)
    assert image.stat().st_size > 10_000
    both = tree.fromstring(swiftlet("net", "graph", "--svg", "-", "--with", str(daemon.socket)))
    assert sum(element.text == "pause" for element in both.iter(f"{SVG}text")) == 5
    assert swiftlet("-o", "json", "net", "graph").strip().startswith("{")


def test_counters_in_prometheus_form(swiftlet, pod):
    lines = swiftlet("net", "--metrics").splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert samples and all(re.fullmatch(r'podnet_[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+', line)
                           for line in samples), lines
    assert 'podnet_leases{state="bound"} 1' in samples


@pytest.mark.parametrize("format", ["json", "yaml", "table"])
def test_formats(swiftlet, pod, format):
    for command in (["net"], ["net", pod.id], ["net", "graph"]):
        text = swiftlet(*command, "-o", format)
        if format == "json":
            json.loads(text)
        assert text.strip()


def test_another_runtime_is_told_apart(programs, tmp_path):
    """A CRI runtime that is not ours answers the CRI, and has no such call."""
    from concurrent import futures

    import grpc

    from lib.stubs import services

    server = grpc.server(futures.ThreadPoolExecutor(2))
    services.add_RuntimeServiceServicer_to_server(services.RuntimeServiceServicer(), server)
    path = tmp_path / "other.sock"
    server.add_insecure_port(f"unix://{path}")
    server.start()
    try:
        done = subprocess.run([programs / "swiftlet", "--socket", path, "net"], capture_output=True, text=True,
                              timeout=60)
    finally:
        server.stop(0)
    assert done.returncode == 1 and "swiftlet.v1.Swiftlet/Network" in done.stderr and str(path) in done.stderr
    assert "swiftlet inspect POD" in done.stderr


def test_peers_and_the_tunnel(programs, tmp_path):
    cluster = Cluster()
    try:
        cluster.start("auto")
        cluster.wait_for_routes()
        swiftlet = Swiftlet(programs / "swiftlet", cluster.daemons["a"], tmp_path)

        def settled() -> dict | None:  # noted once the routes are set
            network = swiftlet.json("net")
            return network if [peer["state"] for peer in network["peers"]] == ["live"] * 2 else None

        a = wait.until(settled, "both peers")
        peers = {peer["name"]: peer for peer in a["peers"]}
        assert a["node"]["name"] == "a" and set(peers) == {"b", "c"}
        # b is a neighbour, c is behind a router.
        assert (peers["b"]["backend"], peers["c"]["backend"]) == ("host-gw", "vxlan")
        for name, peer in peers.items():
            assert peer["state"] == "live" and peer["routePresent"] and peer["podCIDRs"] == cluster.blocks(name)
            assert peer["addresses"] == [cluster.nodes[name].address, cluster.nodes[name].address6]
        link = cluster.nodes["a"].inside.links()["podvx0"]
        assert [a["tunnel"][key] for key in ("name", "id", "port", "mtu", "mac")] == [
            "podvx0", 1, 4789, link["mtu"], link["address"]]
        assert a["counters"]['podnet_peers{state="live"}'] == 2
        cluster.daemons["a"].client.run_pod(name="first")
        cluster.daemons["b"].client.run_pod(name="second")
        text = swiftlet("net", "graph")
        for words in ("uplink: 10.244.2.0/24 on b", "podvx0: 10.244.3.0/24 on c", "node c (live)"):
            assert words in text, text
        drawing = tree.fromstring(
            swiftlet("net", "graph", "--svg", "-", "--with", str(cluster.daemons["b"].socket)))
        words = [element.text for element in drawing.iter(f"{SVG}text")]
        for word in ("node a", "node b", "node c", "first", "second", "podvx0", "10.244.2.0/24 → b", "live"):
            assert word in words, words
        # A record that claims a's own pods.
        cluster.write([cluster.nodes["a"].record(cluster.blocks("a")), cluster.nodes["c"].record(cluster.blocks("a"))])
        wait.until(lambda: [peer["state"] for peer in swiftlet.json("net")["peers"]] == ["refused"], "the refusal")
        assert "overlaps" in swiftlet.json("net")["peers"][0]["note"] and "overlaps" in swiftlet("net")
    finally:
        cluster.close()


def test_drops_and_limits_are_shown(swiftlet, daemon, cri):
    """A pod that lies about its address, a stranger's packet to a pod, and a pod with a limit."""
    pod = cri.run_pod(annotations={"kubernetes.io/egress-bandwidth": "10M", "kubernetes.io/ingress-bandwidth": "20M"})
    one = swiftlet.json("net", pod.id)
    assert (one["ingressBits"], one["egressBits"]) == (20_000_000, 10_000_000)
    assert "egress limit" in swiftlet("net", pod.id)
    counters = swiftlet.json("net")["counters"]
    spoofed, incoming = 'podnet_spoof_dropped{kind="spoofed_ipv4"}', "podnet_incoming_dropped"
    with inside(pod) as space:
        space.run("ip", "address", "add", "10.244.250.250/32", "dev", "eth0")
        space.call(lambda: send("10.244.250.250", daemon.node.ADDRESS))
    outside = daemon.node.outside
    outside.run("ip", "route", "add", pod.ip, "via", daemon.node.ADDRESS)
    try:
        outside.call(lambda: send(daemon.node.OUTSIDE, pod.ip))
    finally:
        outside.run("ip", "route", "delete", pod.ip)

    def counted():
        after = swiftlet.json("net")["counters"]
        return after[spoofed] > counters[spoofed] and after[incoming] > counters[incoming]

    wait.until(counted, "both in the counters")
    assert "podnet_incoming_dropped" in swiftlet("net")


def test_repairs_and_chains_in_the_way(swiftlet, daemon, pod):
    """What was put back is counted; a chain of somebody else that drops pods' packets is shown."""
    node = daemon.node.inside
    shown = by_name(swiftlet.json("net"))[pod.config.metadata.name]
    counter = 'podnet_repairs{kind="forwarding_entry"}'
    before = swiftlet.json("net")["counters"][counter]
    node.run("bridge", "fdb", "del", shown["mac"], "dev", shown["hostInterface"], "master")
    wait.until(lambda: swiftlet.json("net")["counters"][counter] > before, "the repair")
    assert by_name(swiftlet.json("net"))[pod.config.metadata.name]["drift"] == []
    assert "podnet_repairs" in swiftlet("net")
    assert swiftlet.json("net")["foreignChains"] == []
    node.run("nft", "add table ip other; add chain ip other stop { type filter hook forward priority 5; policy drop; }")
    try:
        def chains():
            found = swiftlet.json("net")["foreignChains"]
            return found if found and found[0]["note"] else None  # noted a little later

        (chain,) = wait.until(chains, "the chain")
        assert (chain["family"], chain["table"], chain["chain"]) == ("ip", "other", "stop") and chain["note"]
        assert "chain ip other stop" in swiftlet("net")
    finally:
        node.run("nft", "delete", "table", "ip", "other")
    wait.until(lambda: swiftlet.json("net")["foreignChains"] == [], "the end of the finding")
