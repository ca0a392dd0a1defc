"""Starts programs/spy.c beside others (L01, L23)."""

from __future__ import annotations

from . import wait
from .cri import Client, Container, Pod, security
from .daemon import binaries
from .programs import program
from .stubs import pb


RUNTIME = ("swiftlet-shim", "swiftlet-pause")


def shared_pod(cri: Client) -> Pod:
    """A pod whose containers see each other's processes, and pause."""
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))


def run(pod: Pod, name: str = "spy", **fields) -> Container:
    """The spy, which looks already; `fields` of its security context."""
    mounts = [pb.Mount(container_path=f"/{path.name}", host_path=str(path), readonly=True)
              for path in (program("spy"), *(binaries() / name for name in RUNTIME))]
    spy = pod.run(["/spy", *(f"/{name}" for name in RUNTIME)], name=name, mounts=mounts,
                  linux=security(**fields))
    wait.until(lambda: "ready" in spy.log_text(), "spy")
    return spy


def findings(spy: Container) -> set[str]:
    """What it could see or do, beside that it can look at pause's program, as at any neighbour's."""
    return set(spy.log_text().splitlines()) - {"ready", "seen", "exe /swiftlet-pause readonly"}
