"""Forwarded connections into a pod's and the node's loopback, over SPDY and through WebSocket."""

import os
import socket
import threading

import pytest

from lib import streams, wait
from lib.netns import Namespace
from lib.stubs import pb



pytestmark = pytest.mark.usefixtures("listening")


class Echo:
    """Answers what it is told, and the end with the end, on both loopbacks of a pod: 7000 on IPv4's, 7006 on IPv6's."""

    def __init__(self, pod) -> None:
        self.pod, self.alive, self.lock = pod, 0, threading.Lock()
        self.space = Namespace.of(pod.info()["pid"])
        self.listeners = [self.space.listen("127.0.0.1", 7000), self.space.listen("::1", 7006)]
        for listener in self.listeners:
            threading.Thread(target=self.serve, args=[listener], daemon=True).start()

    def serve(self, listener: socket.socket) -> None:
        try:
            while True:
                connection, _ = listener.accept()
                self.count(1)
                threading.Thread(target=self.answer, args=[connection], daemon=True).start()
        except OSError:
            pass

    def count(self, change: int) -> None:
        with self.lock:
            self.alive += change

    def answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)
                connection.sendall(b"end")
        except OSError:
            pass
        self.count(-1)

    def close(self) -> None:
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.space.close()


@pytest.fixture
def echo(pod):
    echo = Echo(pod)
    yield echo
    echo.close()


@pytest.fixture
def forward(daemon):
    made = []

    def begin(pod, tunnel: bool = False) -> streams.Forward:
        url = daemon.client.call("PortForward", pb.PortForwardRequest(pod_sandbox_id=pod.id)).url
        made.append(streams.Forward(daemon.node.inside, url, tunnel))
        return made[-1]

    yield begin
    for one in made:
        one.close()


@pytest.mark.parametrize("tunnel", [False, True])
def test_many_connections_at_once(echo, forward, tunnel):
    client = forward(echo.pod, tunnel)
    pairs = [client.open(7000) for _ in range(20)]
    for number, (_, data) in enumerate(pairs):
        client.connection.send(data, f"{number} ".encode() * 2000)
    for number, (_, data) in reversed(list(enumerate(pairs))):
        client.connection.send(data, b"last\n", fin=True)
    for number, (error, data) in enumerate(pairs):
        client.connection.pump(lambda: {error, data} <= client.connection.finished)
        # The half of the client ended long before the answer did.
        assert client.text(data) == f"{number} ".encode() * 2000 + b"last\nend"
        assert client.text(error) == b""


def test_the_sixth_version_where_the_fourth_refuses(echo, forward):
    client = forward(echo.pod)
    error, data = client.open(7006)
    client.connection.send(data, b"x\n", fin=True)
    client.connection.pump(lambda: data in client.connection.finished)
    assert client.text(data) == b"x\nend"


def test_a_port_where_nobody_listens(echo, forward):
    """The client is told, and its other connections go on."""
    client = forward(echo.pod)
    kept = client.open(7000)
    client.connection.send(kept[1], b"before ")
    error, data = client.open(7999)
    client.connection.pump(lambda: error in client.connection.finished and data in client.connection.reset)
    assert b"7999" in client.text(error) and b"ECONNREFUSED" in client.text(error)
    client.connection.send(kept[1], b"after\n", fin=True)
    client.connection.pump(lambda: kept[1] in client.connection.finished)
    assert client.text(kept[1]) == b"before after\nend"


def test_streams_that_are_none(echo, forward):
    client = forward(echo.pod)
    open_ = client.connection.open
    bad = [open_(streamtype="data", port=0, requestid=1), open_(streamtype="data", port=70000, requestid=1),
           open_(streamtype="data", requestid=1), open_(streamtype="other", port=7000, requestid=1), open_(port=7000)]
    first = open_(streamtype="error", port=7000, requestid=5)
    bad += [open_(streamtype="error", port=7000, requestid=5), open_(streamtype="data", port=7001, requestid=5)]
    client.connection.pump(lambda: set(bad) <= client.connection.reset.keys())
    assert first not in client.connection.reset
    # Of old clients, which number nothing.
    error = open_(streamtype="error", port=7000)
    data = open_(streamtype="data", port=7000)
    client.connection.send(data, b"old\n", fin=True)
    client.connection.pump(lambda: {error, data} <= client.connection.finished)
    assert client.text(data) == b"old\nend"


def test_the_node_s_own_loopback(cri, daemon, forward):
    """Of a pod that has the node's network."""
    options = pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)
    linux = pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(namespace_options=options))
    pod = cri.run_pod(linux=linux)
    server = daemon.node.inside.listen()
    with server:
        client = forward(pod)
        error, data = client.open(server.getsockname()[1])
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"from the node")
            client.connection.pump(lambda: client.text(data) == b"from the node")
            client.connection.send(data, b"back")
            assert connection.recv(10) == b"back"
    client.connection.pump(lambda: error in client.connection.finished)


def test_a_client_that_resets_or_vanishes(echo, forward, daemon):
    """The pod sees the end of each connection, and the daemon keeps nothing."""
    first = forward(echo.pod)
    _, data = first.open(7000)
    first.connection.send(data, b"hello\n")
    first.connection.pump(lambda: first.text(data) == b"hello\n")
    before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    client = forward(echo.pod)
    pairs = [client.open(7000) for _ in range(8)]
    for _, data in pairs:
        client.connection.send(data, b"x\n")
    client.connection.pump(lambda: all(client.text(data) == b"x\n" for _, data in pairs))
    for _, data in pairs[:4]:
        client.connection.send_reset(data)
    wait.until(lambda: echo.alive == 5, "the end of four connections")
    streams.reset(client.connection.transport)
    wait.until(lambda: echo.alive == 1, "the end of all")
    wait.until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before, "nothing kept")


def test_a_pod_that_has_ended(echo, forward):
    """Its connections end with it, whatever its clients do: they would keep its network namespace."""
    client = forward(echo.pod)
    _, data = client.open(7000)
    client.connection.send(data, b"x\n")
    client.connection.pump(lambda: client.text(data) == b"x\n")
    echo.pod.stop()
    client.connection.pump_to_end()
    wait.until(lambda: not echo.alive, "the end of the connection")
