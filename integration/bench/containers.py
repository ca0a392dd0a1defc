"""What the container contract costs: a container with everything that isolates it beside a plain one, in turn."""

from __future__ import annotations

import collections
import os
import pathlib
import tempfile

from bench.measure import p50, timed
from lib import images, oci
from lib.cri import SLEEPER
from lib.daemon import Daemon
from lib.netns import Node
from lib.stubs import pb

ROUNDS = 60
MOUNTS = 10
CALLS = ("CreateContainer", "StartContainer", "StopContainer", "RemoveContainer")


class Kind:
    """Pods of one kind, and the times of their containers."""

    def __init__(self, name: str, client, **fields):
        self.name, self.times = name, collections.defaultdict(list)
        config = client.pod_config(name="bench-" + name.replace(" ", "-").replace(",", ""))
        config.linux.security_context.namespace_options.MergeFrom(fields.pop("namespaces", pb.NamespaceOption()))
        self.fields, self.pod = fields, client.run_pod(config)

    def once(self, number: int) -> None:
        with timed(self.times, "CreateContainer"):
            container = self.pod.create(SLEEPER, name=f"c{number}", **self.fields)
        with timed(self.times, "StartContainer"):
            container.start()
        with timed(self.times, "StopContainer"):
            container.stop()
        with timed(self.times, "RemoveContainer"):
            container.remove()


def kinds(client, scratch: pathlib.Path) -> list[Kind]:
    mapping = [pb.IDMapping(host_id=200000, container_id=0, length=65536)]
    users = pb.NamespaceOption(userns_options=pb.UserNamespace(mode=pb.POD, uids=mapping, gids=mapping))
    seccomp = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(
        seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)))
    mounts, mapped = [], []
    for number in range(MOUNTS):
        source = scratch / str(number)
        source.mkdir()
        plain = dict(container_path=f"/data/{number}", host_path=str(source), readonly=bool(number % 2))
        mounts.append(pb.Mount(**plain))
        mapped.append(pb.Mount(uidMappings=mapping, gidMappings=mapping, **plain))
    unconfined = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(
        seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)))
    return [
        Kind("plain", client, linux=unconfined), Kind("RuntimeDefault", client, linux=seccomp),
        Kind(f"{MOUNTS} mounts", client, linux=unconfined, mounts=mounts),
        Kind("user namespace", client, linux=unconfined, namespaces=users),
        Kind("all of it", client, linux=seccomp, mounts=mapped, namespaces=users),
    ]


def table(found: list[Kind]) -> list[str]:
    lines = ["| p50, ms | " + " | ".join(kind.name for kind in found) + " |", "|---" * (len(found) + 1) + "|"]
    for call in CALLS:
        lines.append(f"| {call} | " + " | ".join(f"{p50(kind.times[call]):.2f}" for kind in found) + " |")
    return lines


def main() -> None:
    """This part alone: python -m bench.containers."""
    node = Node()
    daemon = Daemon(node, network={"pod_cidrs": ["10.244.0.0/24"]}).start()
    try:
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="swiftlet-bench-") as scratch:
            daemon.client.load(oci.layout_archive({"docker.io/library/busybox:latest": images.busybox()}))
            found = kinds(daemon.client, pathlib.Path(scratch))
            for number in range(ROUNDS + 5):
                for kind in found:  # in turn, so that all see the same machine
                    kind.once(number)
                    if number < 5:
                        kind.times.clear()  # warming up
            print(f"\nContainers, {ROUNDS} one after another, load {os.getloadavg()[0]:.1f}:\n")
            print("\n".join(table(found)))
            daemon.client.remove_all()
    finally:
        daemon.close()
        node.close()


if __name__ == "__main__":
    main()
