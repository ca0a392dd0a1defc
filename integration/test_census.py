"""The census sees each kind of leak: one is made, and must be named."""

import contextlib
import os
import socket
import subprocess

import pytest

from lib import wait
from lib.census import CGROUPS, Census, controllers, difference


@contextlib.contextmanager
def mount(daemon):
    target = daemon.base / "leak"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "leak", str(target)], check=True)
    yield "mounts"
    subprocess.run(["umount", str(target)], check=True)
    target.rmdir()


@contextlib.contextmanager
def cgroup(daemon):
    top = next(top for top in controllers() if (top / daemon.base.name).is_dir() or os.access(top, os.W_OK))
    (top / daemon.base.name / "leak").mkdir(parents=True)
    yield "cgroups"
    (top / daemon.base.name / "leak").rmdir()


@contextlib.contextmanager
def process(daemon):
    top = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "pids"
    group = top / daemon.base.name / "leak-process"
    group.mkdir(parents=True)
    child = subprocess.Popen(["sleep", "100"])
    (group / "cgroup.procs").write_text(str(child.pid))
    yield "processes"
    child.kill()
    child.wait()
    group.rmdir()


@contextlib.contextmanager
def shim(daemon):
    child = subprocess.Popen(["swiftlet-shim", "-c", f"read x # {daemon.base}"], executable="/bin/sh",
                             stdin=subprocess.PIPE)
    yield "processes"
    child.kill()
    child.wait()


@contextlib.contextmanager
def namespace(daemon):
    child = subprocess.Popen(
        ["unshare", "--net", "bash", "-c", f"exec -a swiftlet-shim sh -c 'echo up; read x # {daemon.base}'"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    yield "network namespaces"
    child.kill()
    child.wait()


@contextlib.contextmanager
def descriptor(daemon):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        yield "descriptors"


@contextlib.contextmanager
def file(daemon):
    path = daemon.state / "leak"
    path.touch()
    yield "files"
    path.unlink()


@contextlib.contextmanager
def link(daemon):
    daemon.node.inside.run("ip", "link", "add", "leak", "type", "veth", "peer", "name", "leak2")
    yield "node links"
    daemon.node.inside.run("ip", "link", "delete", "leak")


@contextlib.contextmanager
def route(daemon):
    daemon.node.inside.run("ip", "route", "add", "203.0.113.0/24", "dev", "uplink")
    yield "node routes"
    daemon.node.inside.run("ip", "route", "delete", "203.0.113.0/24")


@contextlib.contextmanager
def neighbour(daemon):
    daemon.node.inside.run("ip", "neighbour", "add", "198.18.0.77", "lladdr", "02:00:00:00:00:01", "dev", "uplink")
    yield "node neighbours"
    daemon.node.inside.run("ip", "neighbour", "delete", "198.18.0.77", "dev", "uplink")


@contextlib.contextmanager
def table(daemon):
    daemon.node.inside.run("nft", "add", "table", "inet", "leak")
    yield "node nftables"
    daemon.node.inside.run("nft", "delete", "table", "inet", "leak")


LEAKS = [mount, cgroup, process, shim, namespace, descriptor, file, link, route, neighbour, table]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
def test_a_leak_is_seen(daemon, leak):
    census = Census(daemon)
    before = census.take()
    census.settled(before)
    with leak(daemon) as section:
        with pytest.raises(AssertionError) as caught:
            census.settled(before, deadline=0.3)
        assert f"{section}: +" in str(caught.value)
    census.settled(before)


def test_what_is_missing_is_seen_too(daemon):
    census = Census(daemon)
    path = daemon.state / "was-there"
    path.touch()
    before = census.take()
    path.unlink()
    wait.until(lambda: difference(before, census.take()) == [f"  files: - {path}"], "the file's absence alone")


def test_a_pod_is_seen_in_every_section(cri, daemon):
    """The negative control of all other cases: with a pod up the census differs wherever a pod has something."""
    from lib.cri import SLEEPER

    census = Census(daemon)
    before = census.take()
    pod = cri.run_pod()
    pod.run(SLEEPER)
    found = "\n".join(difference(before, census.take()))
    for section in ("cgroups", "processes", "network namespaces", "files", "node links", "node forwarding entries"):
        assert f"{section}: +" in found, found
