"""The picture of two nodes: `demo/picture`."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from lib import images, oci
from lib.cluster import Cluster
from lib.cri import SLEEPER
from lib.daemon import binaries
from lib.pods import fetch, serve
from lib.stubs import pb


def fill(daemon, pods: dict[str, list[str]], port: dict[str, tuple[int, int]]) -> dict:
    """Pods by name with sleeping containers by theirs."""
    made = {}
    for name, containers in pods.items():
        mappings = [pb.PortMapping(host_port=host, container_port=own) for host, own in [port[name]]
                    ] if name in port else []
        made[name] = daemon.client.run_pod(name=name, port_mappings=mappings)
        for container in containers:
            made[name].run(SLEEPER, name=container)
    return made


def main(path: str) -> None:
    cluster = Cluster()
    try:
        cluster.start("vxlan")
        cluster.wait_for_routes()
        archive = oci.layout_archive({"docker.io/library/busybox:latest": images.busybox()})
        for daemon in cluster.daemons.values():
            daemon.client.load(archive)
        first = fill(cluster.daemons["a"], {"nginx-pausetest": ["web"], "echo": ["busybox"], "db": ["db"]},
                     {"nginx-pausetest": (8080, 80)})
        second = fill(cluster.daemons["b"], {"api": ["api", "proxy"], "batch": ["worker"]}, {})
        serve(first["echo"], "5678", name="http-echo")
        client = second["api"].run(SLEEPER, name="client")
        assert fetch(client, first["echo"].ip, 5678) == "page\n", "pods of two nodes do not reach each other"
        client.stop()
        client.remove()
        a, b = (cluster.daemons[name].socket for name in "ab")
        subprocess.run([binaries() / "swiftlet", "--socket", a, "net", "graph", "--svg", path, "--with", b], check=True)
        print(pathlib.Path(path).stat().st_size, "bytes in", path)
    finally:
        cluster.close()


if __name__ == "__main__":
    main(sys.argv[1])
