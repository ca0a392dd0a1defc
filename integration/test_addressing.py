"""Both ways of addressing pods, and more pods than one bridge has ports: NETWORK.md D1, 5.3."""

import ipaddress

import pytest

from lib import wait
from lib.cri import SLEEPER
from lib.pods import in_pod_json, serve
from lib.stubs import pb

DUAL = ["10.244.77.0/24", "fd44:77::/64"]


def own(pod) -> list[str]:
    network = pod.status().network
    return [network.ip, *(more.ip for more in network.additional_ips)]


def url(address: str, port: int = 8080) -> str:
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def page(container, address: str, port: int = 8080) -> str:
    return container.shell(f"timeout 50 wget -q -O - {url(address, port)}")


@pytest.mark.parametrize("addressing, blocks", [
    ("switched", DUAL), ("switched", DUAL[:1]), ("switched", DUAL[1:]), ("routed", DUAL[:1]), ("routed", DUAL[1:])])
def test_pods_talk_whatever_their_addresses_are(make_daemon, addressing, blocks):
    """Dual stack with `routed` is what every other case runs with."""
    daemon = make_daemon(network={"addressing": addressing, "pod_cidrs": blocks})
    web = pb.PortMapping(protocol=pb.TCP, container_port=8080, host_port=8088)
    server, client = daemon.client.run_pod(port_mappings=[web]), daemon.client.run_pod()
    assert [len(own(pod)) for pod in (server, client)] == [len(blocks)] * 2
    serve(server, "[::]:8080")
    container = client.run(SLEEPER)

    def everybody_reaches_it(container):
        for address, block in zip(own(server), blocks):
            gateway = str(ipaddress.ip_network(block)[1])
            assert page(container, address) == page(container, gateway, 8088) == "page\n"
            assert "page" in daemon.node.inside.fetch(address, 8080)

    everybody_reaches_it(container)
    # A pod knows its neighbour's MAC where they share a network; with its own prefix alone it knows the gateway's only.
    links = {link["ifname"]: link for link in in_pod_json(daemon, server, "ip", "-j", "link")}
    known = {entry["dst"]: entry.get("lladdr") for entry in in_pod_json(daemon, client, "ip", "-j", "neighbour")}
    for address, block in zip(own(server), blocks):
        assert known.get(address) == (links["eth0"]["address"] if addressing == "switched" else None)
        network = ipaddress.ip_network(block)
        (eth0,) = in_pod_json(daemon, client, "ip", "-j", "address", "show", "eth0")
        (entry,) = [found for found in eth0["addr_info"] if ipaddress.ip_address(found["local"]) in network]
        assert entry["prefixlen"] == (network.prefixlen if addressing == "switched" else network.max_prefixlen)

    daemon.kill()
    daemon.start()
    everybody_reaches_it(container)
    everybody_reaches_it(daemon.client.run_pod().run(SLEEPER))


@pytest.mark.parametrize("backend, mtu", [("none", 1500), ("vxlan", 1450)])
def test_a_tunnel_takes_its_room_off_the_mtu(make_daemon, backend, mtu):
    daemon = make_daemon(load=False, network={"backend": backend})
    pod = daemon.client.run_pod()
    (eth0,) = in_pod_json(daemon, pod, "ip", "-j", "link", "show", "eth0")
    assert eth0["mtu"] == daemon.node.inside.links()[daemon.network["bridge"]]["mtu"] == mtu


def test_pods_beyond_a_bridges_ports_are_like_the_others(make_daemon):
    daemon = make_daemon(network={"pod_cidrs": ["10.244.64.0/21", "fd44:64::/64"]})
    node, bridge = daemon.node.inside, daemon.network["bridge"]
    plugs = [f"plug{number}" for number in range(0, 1022)]
    pairs = "".join(f"link add {a} type veth peer name {b}\n" for a, b in zip(plugs[::2], plugs[1::2]))
    node.run("ip", "-batch", "-", input=pairs + "".join(f"link set {plug} master {bridge}\n" for plug in plugs))
    first, server, third = (daemon.client.run_pod() for _ in range(3))
    names = ["pod" + ipaddress.ip_address(pod.ip).packed.hex() for pod in (first, server, third)]
    masters = [node.links()[name]["master"] for name in names]
    assert masters == [bridge, bridge + "-1", bridge + "-1"]
    serve(server, "[::]:8080")
    clients = [pod.run(SLEEPER) for pod in (first, third)]

    def everybody_reaches_it(clients):
        for address in own(server):
            assert all(page(client, address) == "page\n" for client in clients)
            assert "page" in node.fetch(address, 8080)

    everybody_reaches_it(clients)
    daemon.kill()
    daemon.start()
    everybody_reaches_it([*clients, daemon.client.run_pod().run(SLEEPER)])
    daemon.client.remove_all()
    wait.until(lambda: not [name for name in node.links() if name.startswith("pod")], "end of the pods' links")
    for family in ("-4", "-6"):
        wait.until(lambda family=family: not [
            route for route in node.json("ip", "-j", family, "route", "show", "dev", bridge + "-1")
            if route["dst"].startswith(("10.244.64.", "fd44:64::")) and not route["dst"].endswith(":1")],
            "end of the pods' routes")
    daemon.terminate()
    daemon.start()
    assert bridge + "-1" not in node.links()
