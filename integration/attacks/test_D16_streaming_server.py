"""D16: the streaming server, against who has no URL, and against who has one and abuses it (CVE-2026-35469's kind)."""

import concurrent.futures
import threading
import time

import grpc
import pytest

from lib import spdy, streams, websocket
from lib.cri import SLEEPER
from lib.rounds import FULL
from lib.streams import SpdyCommand, WebSocketCommand, exec_url, roles
from lib.stubs import pb

pytestmark = pytest.mark.usefixtures("listening")
MIB = 1 << 20
V4 = "v4.channel.k8s.io"


def status(space, url: str, *protocols: str, **more) -> int:
    with pytest.raises(spdy.Refused) as refused:
        spdy.connect(space, url, *protocols, **more)
    return refused.value.status


def test_tokens_that_are_guessed(running, space):
    """One that is good stays good meanwhile, for the minute that it has."""
    url, asked = exec_url(running, "echo", "hi"), time.monotonic()
    for number in range(1_000_000 if FULL else 300):
        if time.monotonic() > asked + 20:
            url, asked = exec_url(running, "echo", "hi"), time.monotonic()
        place, token = url.rsplit("/", 1)
        guess = f"{int(token, 16) ^ (number + 1):032x}"
        assert status(space, f"{place}/{guess}", V4) == 404
    command = SpdyCommand(space, url, roles()).finish()
    assert command.output() == b"hi\n"
    assert status(space, url, V4) == 404
    command.close()


def test_web_pages_stay_out(running, space):
    """a page that has learned a URL, by its own name for this address or by its origin."""
    assert status(space, exec_url(running, "true"), V4, host="attacker.example:80") == 403
    assert status(space, exec_url(running, "true"), V4, headers=[("Origin", "http://attacker.example")]) == 403
    with pytest.raises(spdy.Refused):
        websocket.connect(space, exec_url(running, "true"), "v5.channel.k8s.io",
                          headers=[("Origin", "https://attacker.example")])


def test_pods_do_not_reach_the_server(pod, running, space):
    """it listens on the node's loopback alone."""
    port = exec_url(running, "true").split(":")[2].split("/")[0]
    gateway = running.shell("ip route show default").split()[2]
    for address in ("127.0.0.1", gateway):
        answer = running.execute("sh", "-c", f"nc -w 2 {address} {port} </dev/null")
        assert answer.exit_code != 0, (address, answer)


def test_a_thousand_urls_may_wait(make_daemon):
    daemon = make_daemon()
    container = daemon.client.run_pod().run(SLEEPER)
    request = pb.ExecRequest(container_id=container.id, cmd=["true"], stdout=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        urls = {answer.url for answer in pool.map(lambda _: daemon.client.call("Exec", request), range(1000))}
    assert len(urls) == 1000

    def refusal() -> grpc.StatusCode | None:
        """A busy machine takes a while to get here: as many as have run out of their minute since then have room."""
        for _ in range(1000):
            try:
                daemon.client.call("Exec", request)
            except grpc.RpcError as error:
                return error.code()
        return None

    assert refusal() == grpc.StatusCode.RESOURCE_EXHAUSTED
    daemon.client.remove_all()


def test_a_client_that_breaks_the_protocol_is_cut_off(execute, space, running):
    """each ends its own connection and nothing else."""
    for kind, body in [(spdy.HEADERS, bytes(20000)), (spdy.SYN_STREAM, b"\0\0\0\x63" + bytes(40)),
                       (spdy.RST_STREAM, b"\0\0\0\1")]:
        command = execute(SpdyCommand, "sleep 1000")
        command.connection.control(kind, body)
        command.connection.pump_to_end()
    for message in (bytes([255]), bytes([255, 9]), bytes([255, 0, 0])):
        command = execute(WebSocketCommand, "sleep 1000", stdin=True)
        command.socket.send(message)
        while command.step():
            pass
        assert command.socket.closed == 1002
    command = execute(WebSocketCommand, "sleep 1000", stdin=True)
    command.socket.send(b"\0unmasked", masked=False)
    while command.step():
        pass
    command = execute(WebSocketCommand, "sleep 1000", stdin=True, protocol="base64.channel.k8s.io")
    command.socket.send(b"0not base64!", websocket.TEXT)
    while command.step():
        pass
    running.shell("killall sleep; true")
    assert execute(SpdyCommand, "echo fine").finish().output() == b"fine\n"


def test_output_that_nobody_reads(execute, daemon):
    """100 MiB, for a client that reads nothing at first: the command waits, and the daemon does not grow."""
    execute(SpdyCommand, "true").finish().close()
    before = streams.resident(daemon)
    command = execute(SpdyCommand, "head -c 104857600 /dev/zero")
    streams.settled(daemon)
    peak, stdout = streams.resident(daemon), command.streams["stdout"]
    command.connection.keep = False
    for mebibyte in range(1, 101):
        command.connection.pump(lambda: command.connection.counts.get(stdout, 0) >= mebibyte << 20)
        peak = max(peak, streams.resident(daemon))
    command.connection.keep = True
    command.finish()
    assert command.connection.counts[stdout] == 100 * MIB
    assert peak - before < 16 * MIB, (before, peak)


@pytest.mark.parametrize("kind", [SpdyCommand, WebSocketCommand])
def test_input_that_nobody_reads(execute, daemon, kind):
    """The client waits; it can leave all the same."""
    execute(SpdyCommand, "true").finish().close()
    before = streams.resident(daemon)
    command = execute(kind, "echo up; exec sleep 8765", stdin=True)
    command.read_until(b"up")
    connection = command.socket.connection if kind is WebSocketCommand else command.connection.transport
    connection.settimeout(1)
    with pytest.raises(TimeoutError):
        for _ in range(128):
            command.send(bytes(MIB // 2))
    assert streams.resident(daemon) - before < 16 * MIB
    command.vanish()


def test_a_flood_of_frames(execute, daemon, running, space):
    """Streams, resets, pings and settings by the thousand: no memory, no end of anybody else's service."""
    execute(SpdyCommand, "true").finish().close()
    before = streams.resident(daemon)
    request = pb.PortForwardRequest(pod_sandbox_id=running.pod.id)
    forward = streams.Forward(space, running.client.call("PortForward", request).url)
    connection = forward.connection
    connection.transport.settimeout(0.5)
    sent = 0

    def flood() -> None:
        nonlocal sent
        try:
            for number in range(1_000_000 if FULL else 20_000):
                stream = connection.open(streamtype="error", port=80, requestid=number)
                connection.send_reset(stream)
                connection.control(spdy.PING, (2 * number + 1).to_bytes(4, "big"))
                connection.control(spdy.SETTINGS, bytes(1000))
                sent += 1
        except (TimeoutError, OSError):
            pass  # which is what is to happen: it waits

    thread = threading.Thread(target=flood)
    thread.start()
    slowest = 0.0
    while thread.is_alive():
        began = time.monotonic()
        running.client.call("Version")
        slowest = max(slowest, time.monotonic() - began)
    thread.join()
    grown = streams.resident(daemon) - before
    print("frames", 4 * sent, "bytes", grown, "slowest answer", slowest)
    assert sent < 20_000 and grown < 8 * MIB, (sent, grown)
    assert slowest < 20  # of a loaded machine
    forward.close()
