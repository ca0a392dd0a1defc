"""Fixtures: one node with one daemon for most cases, more of either on demand, and the census around every case."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lib import images, oci, streams  # noqa: E402
from lib.census import Census  # noqa: E402
from lib.cri import SLEEPER, Client  # noqa: E402
from lib.daemon import Daemon, binaries  # noqa: E402
from lib.netns import Node  # noqa: E402
from lib.registry import HostileRegistry, Registry  # noqa: E402


def pytest_sessionstart(session) -> None:
    if os.geteuid() != 0:
        pytest.exit("the integration tests need root: `make integration` as root", returncode=1)
    os.umask(0o022)  # the trees that cases make are for other users, too


@pytest.fixture(scope="session")
def programs() -> pathlib.Path:
    """The folder of the four programs; without them nothing can be tested, and that is a failure."""
    folder = binaries()
    for name in ("swiftletd", "swiftlet", "swiftlet-shim", "swiftlet-pause"):
        assert (folder / name).is_file(), f"{folder / name} is missing: make build, or SWIFTLET_BIN_DIR"
    return folder


@pytest.fixture(scope="session")
def node():
    node = Node()
    yield node
    node.close()


@pytest.fixture(scope="session")
def archives() -> bytes:
    """Busybox under the names that cases use, as an OCI archive."""
    return oci.layout_archive({"docker.io/library/busybox:latest": images.busybox()})


@pytest.fixture(scope="session")
def shared(programs, node, archives):
    """The daemon that most cases share, with busybox loaded."""
    daemon = Daemon(node).start().prepare(archives)
    yield daemon
    daemon.close()


@pytest.fixture
def daemon(shared):
    """The shared daemon, alive, empty, and with a census around the case."""
    if not shared.alive:
        shared.start()
    census = Census(shared)
    before = census.take()
    yield shared
    assert shared.alive, f"swiftletd died of {shared.process.poll()}:\n{shared.tail()}"
    shared.client.remove_all()
    census.settled(before)


@pytest.fixture
def cri(daemon) -> Client:
    """A client of the shared daemon."""
    return daemon.client


@pytest.fixture
def pod(cri):
    """A ready pod of the shared daemon."""
    return cri.run_pod()


@pytest.fixture
def make_daemon(programs, archives):
    """Makes daemons for this case alone; each gets a node of its own unless one is given."""
    made: list[Daemon] = []
    nodes: list[Node] = []

    def make(node: Node | None = None, load: bool = True, start: bool = True, **more) -> Daemon:
        if node is None:
            node = Node()
            nodes.append(node)
        daemon = Daemon(node, **more)
        made.append(daemon)
        if start:
            daemon.start()
            if load:
                daemon.prepare(archives)
        return daemon

    yield make
    for daemon in reversed(made):
        daemon.close()
    for node in nodes:
        node.close()


@pytest.fixture(scope="module")
def victim(programs, archives):
    """A daemon that the cases of one file kill and start again as they like, on a node of its own."""
    node = Node()
    daemon = Daemon(node).start().prepare(archives)
    yield daemon
    daemon.close()
    node.close()


@pytest.fixture
def census(victim):
    """The host before and after a case that kills the daemon."""
    census = Census(victim)
    before = census.take_host()
    yield census
    victim.client.remove_all()
    census.settled(before)


@pytest.fixture
def running(pod):
    """A container that sleeps."""
    return pod.run(SLEEPER)


@pytest.fixture(scope="module")
def listening(shared):
    """The streaming server listens from its first URL on; the census of the first case must not count that."""
    streams.listening(shared)


@pytest.fixture
def space(daemon):
    """Where the daemon's streaming server listens."""
    return daemon.node.inside


@pytest.fixture
def execute(listening, running, space):
    """Begins a command in a container, over SPDY or WebSocket."""
    opened = []

    def begin(kind, script: str, protocol: str | None = None, **wanted):
        url = streams.exec_url(running, "sh", "-c", script, **wanted)
        opened.append(kind(space, url, streams.roles(**wanted), *([] if protocol is None else [protocol])))
        return opened[-1]

    yield begin
    for command in opened:
        command.close()


@pytest.fixture
def clean(cri, daemon):
    """Removes every image but busybox after the case."""
    yield
    cri.remove_all()
    for image in cri.images():
        if image.id != images.busybox().id:
            cri.remove_image(image.id)
    daemon.rests()


@pytest.fixture
def image(cri, clean):
    """Loads layers over busybox and gives the name."""
    def load(*layers: oci.Layer, **config) -> str:
        image = images.busybox().with_layers(*layers)
        if config:
            image = image.with_config(**config)
        name = f"docker.io/test/{image.id[7:19]}:v1"
        cri.load(oci.layout_archive({name: image}))
        return name

    return load


@pytest.fixture(scope="session")
def registry(node, tmp_path_factory):
    """docker-registry on the shared node's loopback."""
    registry = Registry(node.inside, tmp_path_factory.mktemp("registry") / "plain", 5000)
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def private_registry(node, tmp_path_factory):
    """The same with basic auth: user `alice`, password `s3cret:with colon`."""
    registry = Registry(
        node.inside, tmp_path_factory.mktemp("registry") / "private", 5001, "alice", "s3cret:with colon")
    yield registry
    registry.close()


@pytest.fixture
def hostile(node):
    """Makes registries with one fault on the shared node's loopback."""
    made = []

    def make(fault: str, image: oci.Image | None = None) -> HostileRegistry:
        made.append(HostileRegistry(node.inside, image or images.busybox(), fault))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def canary():
    """A tree on the host that no image and no container may touch; checked afterwards."""
    from lib.canary import Canary

    canary = Canary()
    yield canary
    try:
        canary.check()
    finally:
        canary.remove()
