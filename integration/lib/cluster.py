"""Many nodes on one machine: each a network namespace with a daemon of its own, on links of one more namespace that
plays the switches and the router between them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from . import wait
from .daemon import Daemon
from .netns import Namespace

CLUSTER = ["10.244.0.0/16", "fd44::/16"]


class ClusterNode:
    """A node on one of the fabric's links; to a daemon it is what `netns.Node` is."""

    def __init__(self, fabric: Fabric, name: str, link: int, number: int):
        self.name, self.link = name, link
        self.address, self.address6 = f"198.18.{link}.{number}", f"fd98:{link}::{number}"
        self.inside = Namespace()
        self.port = f"port-{name}"  # its end at the switch
        self.inside.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", self.port,
                        "netns", fabric.space.path)
        fabric.space.run("ip", "link", "set", self.port, "master", f"link{link}", "up")
        self.inside.run("ip", "link", "set", "uplink", "addrgenmode", "none")
        self.inside.run("ip", "address", "add", f"{self.address}/24", "dev", "uplink")
        self.number = number
        self.up()

    def up(self) -> None:
        """The uplink with all that goes when it goes down."""
        run = self.inside.run
        run("ip", "link", "set", "uplink", "up")
        run("ip", "address", "add", f"{self.address6}/64", "dev", "uplink", "nodad")
        # Without one the kernel asks for no neighbour on behalf of a packet that it forwards.
        run("ip", "address", "add", f"fe80::{self.number}/64", "dev", "uplink", "nodad")
        run("ip", "route", "add", "default", "via", f"198.18.{self.link}.1")
        run("ip", "-6", "route", "add", "default", "via", f"fd98:{self.link}::1")

    def close(self) -> None:
        self.inside.close()

    def record(self, blocks: list[str], **more) -> dict:
        """As an administrator would write it."""
        return {"name": self.name, "podCIDRs": blocks, "address4": self.address, "address6": self.address6, **more}


class Fabric:
    """Links 1 and 2 as bridges, and the router between them, which knows no pod."""

    def __init__(self) -> None:
        self.space = Namespace()
        for link in (1, 2):
            name = f"link{link}"
            self.space.run("ip", "link", "add", name, "type", "bridge")
            self.space.run("ip", "link", "set", name, "addrgenmode", "none")
            self.space.run("ip", "address", "add", f"198.18.{link}.1/24", "dev", name)
            self.space.run("ip", "address", "add", f"fd98:{link}::1/64", "dev", name, "nodad")
            self.space.run("ip", "address", "add", "fe80::1/64", "dev", name, "nodad")
            self.space.run("ip", "link", "set", name, "up")
        self.space.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def close(self) -> None:
        self.space.close()


class Cluster:
    """Three nodes: `a` and `b` on one link, `c` behind the router. Daemons are made by `start`."""

    NAMES = {"a": 1, "b": 1, "c": 2}

    def __init__(self) -> None:
        self.fabric = Fabric()
        self.nodes = {name: ClusterNode(self.fabric, name, link, 10 + index)
                      for index, (name, link) in enumerate(self.NAMES.items())}
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="swc-", dir="/var/tmp"))
        self.file = self.base / "nodes.json"
        self.daemons: dict[str, Daemon] = {}
        self.etcd: Etcd | None = None

    def blocks(self, name: str) -> list[str]:
        number = 1 + list(self.NAMES).index(name)
        return [f"10.244.{number}.0/24", f"fd44:{number}::/64"]

    def write(self, records: list[dict] | None = None) -> None:
        """The file of all nodes, or of `records`, exchanged at once."""
        if records is None:
            records = [node.record(self.blocks(name)) for name, node in self.nodes.items()]
        fresh = self.base / "fresh"
        fresh.write_text(json.dumps(records))
        fresh.rename(self.file)

    def make(self, name: str, backend: str, nodes: dict | None = None, **network) -> Daemon:
        network = {"backend": backend, "node_name": name, "bridge": "podbr0", "pod_cidrs": self.blocks(name),
                   "cluster_cidrs": CLUSTER, "nodes": nodes or {"file": str(self.file)}, **network}
        self.daemons[name] = Daemon(self.nodes[name], network)
        return self.daemons[name]

    def start(self, backend: str, **more) -> Cluster:
        """A daemon on every node, all at once."""
        if self.etcd is None:
            tunnel = {key: more["vxlan"][key] for key in ("vni", "port")} if "vxlan" in more else {}
            self.write([node.record(self.blocks(name), **tunnel) for name, node in self.nodes.items()])
        made = [self.make(name, backend, **more) for name in self.nodes]
        together(*(daemon.start for daemon in made))
        return self

    def with_etcd(self, tls: bool = False) -> Cluster:
        self.etcd = Etcd(self.fabric.space, self.base, "198.18.1.1", tls)
        return self

    def routes(self, name: str) -> dict[str, dict]:
        """The node's routes to other nodes' pods, by destination."""
        space = self.nodes[name].inside
        found = space.json("ip", "-j", "route", "show", "proto", "84")
        found += space.json("ip", "-j", "-6", "route", "show", "proto", "84")
        return {route["dst"]: route for route in found}

    def wait_for_routes(self, names: str = "abc", count: int | None = None) -> None:
        wanted = 2 * (len(self.nodes) - 1) if count is None else count
        for name in names:
            wait.until(lambda name=name: len(self.routes(name)) == wanted,
                       f"{wanted} routes on node {name}, see {self.daemons[name].output}")

    def close(self) -> None:
        together(*(daemon.close for daemon in self.daemons.values()))
        if self.etcd:
            self.etcd.close()
        for node in self.nodes.values():
            node.close()
        self.fabric.close()
        shutil.rmtree(self.base, ignore_errors=True)


class Etcd:
    """Debian's etcd in a namespace, with its data in a directory that survives its death. With TLS it asks clients for
    certificates; `files` are those of one that it trusts."""

    def __init__(self, space: Namespace, base: pathlib.Path, address: str, tls: bool = False):
        self.space, self.base, self.address = space, base, address
        self.url = f"http{'s' if tls else ''}://{address}:2379"
        self.output = base / "etcd.log"
        self.files = certificates(base, address) if tls else {}
        self.start()

    def start(self) -> None:
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(self.space.command(
                "etcd", "--name", "test", "--data-dir", str(self.base / "etcd"), "--listen-client-urls", self.url,
                "--advertise-client-urls", self.url, "--listen-peer-urls", "http://127.0.0.1:2380",
                "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
                "--initial-cluster", "test=http://127.0.0.1:2380", "--unsafe-no-fsync",
                *(("--client-cert-auth", "--trusted-ca-file", self.files["ca"], "--cert-file", self.files["cert"],
                   "--key-file", self.files["key"]) if self.files else ())),
                stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait.until(self.answers, f"etcd, see {self.output}", 60)

    def answers(self) -> bool:
        assert self.process.poll() is None, f"etcd ended, see {self.output}"
        try:
            if self.files:
                self.space.connect(self.address, 2379, timeout=5).close()
                return True
            return '"true"' in self.space.fetch(self.address, 2379, "/health", timeout=5)
        except OSError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()


def certificates(base: pathlib.Path, address: str) -> dict[str, str]:
    """An authority, and a certificate of it that is good for a server at `address` and for a client."""
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=base, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2")
    openssl("req", "-x509", *curve, "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "key.pem", "-out", "cert.pem",
            "-subj", "/CN=node", "-days", "2", "-addext", f"subjectAltName=IP:{address}",
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth,clientAuth")
    return {"ca": str(base / "ca.pem"), "cert": str(base / "cert.pem"), "key": str(base / "key.pem")}


def together(*bodies) -> None:
    """Runs all at once; the first failure is raised when all have ended."""
    failures = []

    def guarded(body):
        try:
            body()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class PodSpace:
    """A pod's network namespace, held while somebody works in it, and the pod's addresses by family."""

    def __init__(self, pod):
        self.pod = pod
        self.space = Namespace.of(pod.info()["pid"])
        network = pod.status().network
        found = [network.ip, *(more.ip for more in network.additional_ips)]
        self.addresses = {6 if ":" in address else 4: address for address in found}

    def close(self) -> None:
        self.space.close()


class Echo:
    """A TCP server inside a namespace that answers each byte with itself and remembers who asked."""

    def __init__(self, space: Namespace, address: str, port: int = 0):
        self.listener = space.listen(address, port)
        self.port = self.listener.getsockname()[1]
        self.peers: list[str] = []
        self.open: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = self.listener.accept()
                self.peers.append(peer[0])
                self.open.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while part := connection.recv(1 << 16):
                connection.sendall(part)

    def close(self) -> None:
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Talk:
    """One connection that is never let go, and new ones beside it, one after the other, from a thread.

    A patient one lets new connections be refused for want of a route for a while: where the way is taken away, only
    what is established must go on."""

    def __init__(self, space: Namespace, address: str, port: int, patient: bool = False):
        self.space, self.address, self.port, self.patient = space, address, port, patient
        self.kept = space.connect(address, port)
        self.kept.settimeout(60)
        self.rounds, self.failures, self.longest = 0, [], 0.0
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.ending.is_set():
            begun = time.monotonic()
            try:
                self.exchange(self.kept)
                with self.fresh() as fresh:
                    fresh.settimeout(60)
                    self.exchange(fresh)
            except OSError as error:
                self.failures.append(f"round {self.rounds}: {error!r}")
                return
            self.rounds += 1
            self.longest = max(self.longest, time.monotonic() - begun)
            self.ending.wait(0.01)

    def fresh(self) -> socket.socket:
        until = time.monotonic() + 60
        while True:
            try:
                return self.space.connect(self.address, self.port)
            except OSError as error:
                lost = error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
                if not (self.patient and lost and time.monotonic() < until):
                    raise
            self.ending.wait(0.01)

    def exchange(self, connection: socket.socket) -> None:
        word = f"round {self.rounds}".encode()
        connection.sendall(word)
        answer = b""
        while len(answer) < len(word):
            part = connection.recv(64)
            if not part:
                raise OSError("closed by the other end")
            answer += part
        assert answer == word

    def goes_on(self) -> None:
        """Waits for a few more rounds."""
        wanted = self.rounds + 3
        wait.until(lambda: self.failures or self.rounds >= wanted, "more rounds of a conversation")
        assert not self.failures, self.failures

    def end(self) -> int:
        """How many rounds there were; none may have failed."""
        self.ending.set()
        self.thread.join()
        self.kept.close()
        assert not self.failures, self.failures
        return self.rounds


def translations(node: ClusterNode, blocks: list[str]) -> list[str]:
    """Connections between cluster addresses whose answer does not go back to where the question came from."""
    import ipaddress

    networks = [ipaddress.ip_network(block) for block in blocks]
    found = []
    for family in ("ipv4", "ipv6"):
        for line in node.inside.run("conntrack", "-L", "-f", family, check=False).splitlines():
            words = [word.split("=", 1) for word in line.split() if "=" in word]
            source, target = ([value for key, value in words if key == name] for name in ("src", "dst"))
            if len(source) != 2 or not all(
                    any(ipaddress.ip_address(end) in network for network in networks)
                    for end in (source[0], target[0])):
                continue
            if source[0] != target[1] or target[0] != source[1]:
                found.append(line)
    return found


def addresses_in(pid: int) -> tuple[int, list[str]] | None:
    """Inode and addresses of eth0 of a process's network namespace, as its kernel says; None when it is gone."""
    try:
        space = Namespace.of(pid)
    except OSError:
        return None
    try:
        return space.inode, space.call(own_addresses)
    finally:
        space.close()


def own_addresses() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, contextlib.suppress(OSError):
        answer = fcntl.ioctl(any_socket, 0x8915, struct.pack("256s", b"eth0"))  # SIOCGIFADDR
        found.append(socket.inet_ntoa(answer[20:24]))
    for line in pathlib.Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
        words = line.split()
        if words[5] == "eth0" and not words[0].startswith("fe80"):
            found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0])))
    return found


class Watcher:
    """Looks at all pods of all daemons again and again from outside: no two namespaces may have one address."""

    def __init__(self, daemons: list[Daemon]):
        self.parents = tuple(f":/{daemon.base.name}/" for daemon in daemons)
        self.rounds, self.most, self.doubles = 0, 0, []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.ending.is_set():
            owners: dict[str, int] = {}
            for pid in self.pauses():
                seen = addresses_in(pid)
                for address in seen[1] if seen else []:
                    if owners.setdefault(address, seen[0]) != seen[0]:
                        self.doubles.append(address)
            self.rounds += 1
            self.most = max(self.most, len(owners))
            self.ending.wait(0.05)

    def pauses(self) -> list[int]:
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            try:
                if not pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("swiftlet-pause"):
                    continue
                groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
            except OSError:
                continue
            if any(parent in groups for parent in self.parents):
                found.append(pid)
        return found

    def end(self) -> None:
        self.ending.set()
        self.thread.join()
        assert not self.doubles, f"addresses that two pods had at once: {self.doubles}"


def churn(cluster: Cluster, attachments: int, seconds: float, least: int, seed: int) -> dict[str, int]:
    """Pods come and go on all nodes at once, and their daemons are killed, until each node has had so many pods or the
    time is up, and `least` even so. How many there were, by node."""
    import random

    import grpc

    end = time.monotonic() + seconds
    latest = end + 300 * wait.PATIENCE
    counts = dict.fromkeys(cluster.daemons, 0)

    def node(name: str, daemon: Daemon, chance: random.Random) -> None:
        pods: list[str] = []
        while counts[name] < attachments and time.monotonic() < (latest if counts[name] < least else end):
            if chance.random() < 0.02:
                interrupt(daemon)
                pods = [pod.id for pod in daemon.client.pods()]
            leaving = pods and chance.random() < len(pods) / 60
            # A call may meet a death by the thread beside it: what became of it is seen in the list.
            with contextlib.suppress(grpc.RpcError):
                if leaving:
                    pod = pods.pop(chance.randrange(len(pods)))
                    daemon.client.call("StopPodSandbox", pod_sandbox_id=pod)
                    daemon.client.call("RemovePodSandbox", pod_sandbox_id=pod)
                else:
                    if chance.random() < 0.02:
                        threading.Timer(chance.random() * 0.05, strike, (daemon.pid,)).start()
                    pods.append(daemon.client.run_pod().id)
                    counts[name] += 1
            if not daemon.alive:
                daemon.process.wait(60)
                daemon.start()
                pods = [pod.id for pod in daemon.client.pods()]

    together(*(lambda name=name, daemon=daemon: node(name, daemon, random.Random(f"{seed} {name}"))
               for name, daemon in cluster.daemons.items()))
    return counts


def strike(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def interrupt(daemon: Daemon) -> None:
    """kill -9, and a new one."""
    strike(daemon.pid)
    daemon.process.wait(60)
    daemon.start()
