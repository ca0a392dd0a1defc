"""The pod network: NETWORK.md 13, as far as one node goes."""

import contextlib
import ipaddress
import os
import socket

import grpc
import pytest

from lib import wait
from lib.cri import SLEEPER
from lib.netns import Node
from lib.stubs import pb

# busybox httpd: a page, and a script that tells who asked. Debian's static wget crashes on -T: `timeout` bounds it.
SERVER = ("mkdir -p /www/cgi-bin; echo page > /www/index.html; "
          "printf '#!/bin/sh\\necho Content-Type: text/plain; echo; echo $REMOTE_ADDR\\n' > /www/cgi-bin/who; "
          "chmod +x /www/cgi-bin/who; exec httpd -f -p %s -h /www")


def serve(pod, address: str, name: str = "server"):
    container = pod.run(["sh", "-c", SERVER % address], name=name)
    port = f"{int(address.rpartition(':')[2]):04X}"
    wait.until(lambda: port in container.shell("cat /proc/net/tcp /proc/net/tcp6"), "listening server")
    return container


def in_pod(daemon, pod, *command: str) -> str:
    """A command of the host in a pod's network namespace."""
    import subprocess

    path = f"/proc/{pod.info()['pid']}/ns/net"
    return subprocess.run(["nsenter", f"--net={path}", *command], capture_output=True, text=True, check=True).stdout


def in_pod_json(daemon, pod, *command: str) -> list:
    import json

    return json.loads(in_pod(daemon, pod, *command) or "[]")


def addresses(pod) -> tuple[str, str]:
    """IPv4 and IPv6 of a pod by its status."""
    network = pod.status().network
    return network.ip, network.additional_ips[0].ip


def test_containers_of_one_pod_talk_over_localhost(cri):
    pod = cri.run_pod()
    serve(pod, "127.0.0.1:5678")
    other = pod.run(SLEEPER, name="client")
    assert other.shell("wget -q -O - http://127.0.0.1:5678/") == "page\n"
    stranger = cri.run_pod().run(SLEEPER)
    assert stranger.execute("timeout", "3", "wget", "-q", "-O", "-", f"http://{pod.ip}:5678/").exit_code != 0
    assert stranger.execute("timeout", "3", "wget", "-q", "-O", "-", "http://127.0.0.1:5678/").exit_code != 0


@pytest.mark.parametrize("family", [4, 6])
def test_pods_reach_each_other_under_their_own_addresses(cri, family):
    server, client = cri.run_pod(), cri.run_pod()
    serve(server, "[::]:8080")
    at, own = (addresses(pod)[0 if family == 4 else 1] for pod in (server, client))
    host = at if family == 4 else f"[{at}]"
    container = client.run(SLEEPER)
    assert container.shell(f"timeout 5 wget -q -O - http://{host}:8080/") == "page\n"
    seen = container.shell(f"timeout 5 wget -q -O - http://{host}:8080/cgi-bin/who").strip().strip("[]")
    assert ipaddress.ip_address(seen.removeprefix("::ffff:")) == ipaddress.ip_address(own)


def test_a_pod_reaches_itself_by_its_address(cri):
    pod = cri.run_pod()
    serve(pod, "8080")
    assert pod.run(SLEEPER, name="client").shell(f"timeout 5 wget -q -O - http://{pod.ip}:8080/") == "page\n"


@pytest.mark.parametrize("family", [4, 6])
def test_the_node_reaches_its_pods(cri, daemon, family):
    pod = cri.run_pod()
    serve(pod, "[::]:8080")
    address = addresses(pod)[0 if family == 4 else 1]
    assert "page" in daemon.node.inside.fetch(address, 8080)


@pytest.mark.parametrize("outside, expected", [(Node.OUTSIDE, Node.ADDRESS), (Node.OUTSIDE6, Node.ADDRESS6)])
def test_the_world_sees_the_nodes_address(cri, daemon, outside, expected):
    """Masquerade: the world knows no pod and would have nowhere to answer to."""
    container = cri.run_pod().run(SLEEPER)
    with contextlib.closing(daemon.node.outside.listen(outside)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(10)
        peers = []
        import threading

        def answer():
            connection, peer = listener.accept()
            peers.append(peer[0])
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nworld\n")

        thread = threading.Thread(target=answer)
        thread.start()
        host = f"[{outside}]" if ":" in outside else outside
        assert container.shell(f"timeout 8 wget -q -O - http://{host}:{port}/") == "world\n"
        thread.join()
    assert peers == [expected]


def test_what_a_pods_namespace_holds(cri, daemon):
    pod = cri.run_pod()
    v4, v6 = addresses(pod)
    links = {link["ifname"]: link for link in in_pod_json(daemon, pod, "ip", "-j", "-d", "link")}
    assert set(links) == {"lo", "eth0"}
    assert "UP" in links["lo"]["flags"] and "UP" in links["eth0"]["flags"]
    found = {link["ifname"]: [(a["local"], a["scope"]) for a in link["addr_info"]]
             for link in in_pod_json(daemon, pod, "ip", "-j", "address")}
    assert (v4, "global") in found["eth0"] and (v6, "global") in found["eth0"]
    first = [route for route in in_pod_json(daemon, pod, "ip", "-j", "route") if route["dst"] == "default"]
    assert len(first) == 1 and first[0]["dev"] == "eth0"
    sixth = [route for route in in_pod_json(daemon, pod, "ip", "-j", "-6", "route") if route["dst"] == "default"]
    assert len(sixth) == 1 and sixth[0]["dev"] == "eth0"
    octets = bytes(int(part) for part in v4.split("."))
    assert links["eth0"]["address"] == "0a:58:" + octets.hex(":")
    assert ipaddress.ip_address(v4) in ipaddress.ip_network(daemon.network["pod_cidrs"][0])
    assert ipaddress.ip_address(v6) in ipaddress.ip_network(daemon.network["pod_cidrs"][1])


def test_the_nodes_end_hangs_on_the_bridge(cri, daemon):
    pod = cri.run_pod()
    octets = bytes(int(part) for part in addresses(pod)[0].split("."))
    links = daemon.node.inside.links()
    host = links["pod" + octets.hex()]
    assert host["master"] == daemon.network["bridge"]
    assert links[daemon.network["bridge"]]["linkinfo"]["info_kind"] == "bridge"
    (eth0,) = in_pod_json(daemon, pod, "ip", "-j", "link", "show", "eth0")
    assert eth0["link_index"] == host["ifindex"]
    assert pod.id in host.get("ifalias", ""), host
    assert host["group"] == "4242"


def test_every_pod_has_a_namespace_of_its_own(cri, daemon):
    pods = [cri.run_pod() for _ in range(3)]
    inodes = {os.readlink(f"/proc/{pod.info()['pid']}/ns/net") for pod in pods}
    assert len(inodes) == 3
    assert f"net:[{daemon.node.inside.inode}]" not in inodes and os.readlink("/proc/self/ns/net") not in inodes


def test_the_gateway_answers(cri):
    container = cri.run_pod().run(SLEEPER)
    gateway = container.shell("ip route | awk '/^default/ {print $3}'").strip()
    assert container.execute("ping", "-c", "1", "-W", "2", gateway).exit_code == 0


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

    with pytest.raises(OSError):
        def connect():
            from lib.netns import CLONE_NEWNET, LIBC, checked

            fd = os.open(f"/proc/{attacker.info()['pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                checked(LIBC.setns(fd, CLONE_NEWNET), "setns")
            finally:
                os.close(fd)
            return socket.create_connection((victim.ip, 8080), timeout=1.5, source_address=(stolen, 0))

        from lib.netns import in_thread
        in_thread(connect).close()


def test_the_host_outside_the_node_saw_nothing(cri, daemon):
    """The bridge is in the daemon's namespace alone."""
    assert daemon.network["bridge"] in daemon.node.inside.links()
    assert daemon.network["bridge"] not in os.listdir("/sys/class/net")


def test_network_ready_tells_the_truth(make_daemon):
    """Without its bridge the network is either told not to be ready, or mended."""
    daemon = make_daemon(load=False)
    bridge = daemon.network["bridge"]

    def ready() -> bool:
        conditions = daemon.client.call("Status").status.conditions
        return next(condition for condition in conditions if condition.type == "NetworkReady").status

    assert ready()
    daemon.node.inside.run("ip", "link", "delete", bridge)
    wait.until(lambda: not ready() or bridge in daemon.node.inside.links(), "the truth", 5)
    if bridge not in daemon.node.inside.links():
        condition = next(c for c in daemon.client.call("Status").status.conditions if c.type == "NetworkReady")
        assert condition.reason and bridge in condition.message


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
    assert other.shell(f"timeout 5 wget -q -O - http://{Node.ADDRESS}:18080/") == "page\n"
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
