"""python -m bench.across: throughput and round trip between pods of two nodes, beside those of the bare underlay.

By turns, between the same two nodes, which are on one link: a router made of bridges would cut up what the tunnel sends
whole.
"""

from __future__ import annotations

import json
import pathlib
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib.cluster import Cluster, PodSpace  # noqa: E402
from lib.netns import Namespace  # noqa: E402

ROUNDS, SECONDS, PINGS, PORT = 5, 1.5, 4000, 5201


def serve(address: str) -> None:
    """Takes what comes by TCP on one connection, answers datagrams, and ends with the connection."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as pings, socket.create_server((address, PORT), family=family) as tcp:
        pings.bind((address, PORT))
        print("ready", flush=True)
        for _ in range(PINGS):
            word, peer = pings.recvfrom(64)
            pings.sendto(word, peer)
        connection, _ = tcp.accept()
        buffer, count, begun = bytearray(1 << 20), 0, time.monotonic()
        while part := connection.recv_into(buffer):
            count += part
        print(json.dumps({"gbit": count * 8 / (time.monotonic() - begun) / 1e9}), flush=True)


def ask(address: str) -> None:
    """The other side: round trips one by one, then as much as fits into a while."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as pings:
        pings.connect((address, PORT))
        pings.settimeout(5)
        times = []
        for _ in range(PINGS):
            begun = time.perf_counter_ns()
            pings.send(b"x")
            pings.recv(64)
            times.append((time.perf_counter_ns() - begun) / 1000)
    with socket.create_connection((address, PORT), timeout=5) as connection:
        block, end = bytes(1 << 20), time.monotonic() + SECONDS
        while time.monotonic() < end:
            connection.sendall(block)
    print(json.dumps({"us": statistics.median(times)}), flush=True)


def measure(client: Namespace, server: Namespace, address: str) -> tuple[float, float]:
    """Gbit/s and microseconds."""
    def start(space: Namespace, role: str) -> subprocess.Popen:
        return subprocess.Popen(space.command(sys.executable, "-B", __file__, role, address),
                                stdout=subprocess.PIPE, text=True)

    with start(server, "serve") as there:
        assert there.stdout.readline() == "ready\n"
        with start(client, "ask") as here:
            answer, _ = here.communicate(timeout=60)
        taken, _ = there.communicate(timeout=60)
    return json.loads(taken)["gbit"], json.loads(answer)["us"]


def compare(backend: str) -> None:
    """Rows of one backend: the bare underlay and both families, by turns."""
    cluster = Cluster()
    try:
        cluster.start(backend)
        cluster.wait_for_routes("ab", 2 if backend == "host-gw" else 4)
        one, other = (PodSpace(cluster.daemons[name].client.run_pod()) for name in "ab")
        node = cluster.nodes["b"]
        paths = {f"underlay beside {backend}": (cluster.nodes["a"].inside, node.inside, node.address),
                 backend: (one.space, other.space, other.addresses[4]),
                 f"{backend}, IPv6": (one.space, other.space, other.addresses[6])}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
        for _ in range(ROUNDS):
            for name, path in paths.items():
                found[name].append(measure(*path))
        one.close()
        other.close()
    finally:
        cluster.close()
    medians = {name: [statistics.median(value[index] for value in values) for index in (0, 1)]
               for name, values in found.items()}
    base = next(iter(medians.values()))
    for name, (gbit, us) in medians.items():
        every = " ".join(f"{value[0]:.1f}" for value in found[name])
        print(f"| {name} | {gbit:.1f} ({every}) | {gbit / base[0]:.2f} | {us:.1f} | {us / base[1]:.2f} |", flush=True)


def main() -> None:
    print("| path | Gbit/s, median (all) | ratio | round trip, us | ratio |\n|---|---|---|---|---|")
    for backend in ("host-gw", "vxlan"):
        compare(backend)


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2]) if len(sys.argv) > 2 else main()
