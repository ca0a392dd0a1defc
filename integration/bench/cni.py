"""The network chain of Debian's CNI plugins, run the way a container runtime runs it: one process for each plugin."""

from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile
import time
import uuid

from lib import debian
from lib.netns import Namespace


class Chain:
    """loopback, bridge with host-local addresses, portmap, in a namespace that plays the node."""

    def __init__(self, families: tuple[int, ...] = (4,)):
        self.space = Namespace()
        self.plugins = debian.program("containernetworking-plugins", "/usr/lib/cni/bridge").parent
        self.state = tempfile.TemporaryDirectory(prefix="swiftlet-cni-", dir="/var/tmp")
        ranges = [[{"subnet": {4: "10.88.0.0/20", 6: "fd88::/64"}[family]}] for family in families]
        routes = [{"dst": {4: "0.0.0.0/0", 6: "::/0"}[family]} for family in families]
        self.chain = [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True,
             "ipam": {"type": "host-local", "dataDir": self.state.name, "ranges": ranges, "routes": routes}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]

    def close(self) -> None:
        self.space.close()
        self.state.cleanup()

    def plugin(self, command: str, pod: Pod, interface: str, configuration: dict, previous: dict | None) -> dict:
        configuration = {"cniVersion": "1.0.0", "name": "bench", **configuration}
        if previous:
            configuration["prevResult"] = previous
        if configuration.pop("capabilities", None):
            configuration["runtimeConfig"] = {"portMappings": pod.ports}
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CNI_COMMAND": command, "CNI_CONTAINERID": pod.id,
            "CNI_NETNS": pod.space.path, "CNI_IFNAME": interface, "CNI_PATH": str(self.plugins)}
        done = subprocess.run([self.plugins / configuration["type"]], input=json.dumps(configuration).encode(),
                              env=environment, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"{configuration['type']} {command}: {done.stdout.decode()}{done.stderr.decode()}")
        return json.loads(done.stdout or b"{}")

    def up(self, port: int = 0) -> Pod:
        """A namespace on the network; its `took` is what our attach does, the making of the namespace included."""
        began = time.perf_counter()
        pod = Pod(port)
        self.plugin("ADD", pod, "lo", {"type": "loopback"}, None)
        for configuration in self.chain:
            pod.result = self.plugin("ADD", pod, "eth0", configuration, pod.result)
        pod.took = (time.perf_counter() - began) * 1000
        return pod

    def down(self, pod: Pod) -> float:
        began = time.perf_counter()
        for configuration in reversed(self.chain):
            self.plugin("DEL", pod, "eth0", configuration, pod.result)
        self.plugin("DEL", pod, "lo", {"type": "loopback"}, None)
        took = (time.perf_counter() - began) * 1000
        pod.space.close()
        return took

    def measure(self, few: int, crowd: int, ports: bool = False) -> dict[str, list[float]]:
        """Milliseconds under the names that network-bench gives them."""
        def body() -> dict[str, list[float]]:
            found: dict[str, list[float]] = {"attach": [], "detach": []}
            for number in range(few):
                pod = self.up(20000 + number if ports else 0)
                found["attach"].append(pod.took)
                found["detach"].append(self.down(pod))
            if crowd:
                pods = [self.up() for _ in range(crowd)]
                found[f"attach at {crowd}"] = [pod.took for pod in pods[-100:]]
                found[f"{crowd} pods up"] = [sum(pod.took for pod in pods)]
                found[f"detach at {crowd}"] = [self.down(pod) for pod in pods]
            return found

        return self.space.call(body)


class Pod:
    """A namespace under an id."""

    def __init__(self, port: int):
        self.id = uuid.uuid4().hex
        self.space = Namespace(loopback=False)  # that is a plugin's business
        self.ports = [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}] if port else []
        self.result: dict | None = None
        self.took = 0.0


def version() -> str:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "containernetworking-plugins"],
                          capture_output=True, text=True)
    return done.stdout.split("+")[0] if done.returncode == 0 else "of Debian"
