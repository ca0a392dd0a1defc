"""Frames, states and refusals."""

import os
import signal
import socket
import struct

import pytest

from pod import NODE, POD
from streams import read
from ttrpc import Client, Closed, HEADER, ShimError, pb

INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, UNIMPLEMENTED = 3, 5, 6, 9, 12
DEADLINE_EXCEEDED = 4


def envelope(method: str, payload: bytes = b"") -> bytes:
    return pb.Request(service="swiftlet.shim.v1.Shim", method=method, payload=payload).SerializeToString()


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(60)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("frame", [
    HEADER.pack((4 << 20) + 1, 1, 1, 0),
    HEADER.pack(0xFFFFFFFF, 1, 1, 0),
    HEADER.pack(0, 2, 1, 0),
    HEADER.pack(0, 0, 1, 0),
    HEADER.pack(0, 1, 2, 0),
    HEADER.pack(0, 1, 3, 0),
    HEADER.pack(4, 1, 1, 0) + b"\xff\xff\xff\xff",
    HEADER.pack(2, 1, 1, 0) + b"\x0a\x7f",
], ids=["too-long", "huge", "even", "zero", "response", "data", "not-protobuf", "cut-field"])
def test_malformed_frame_closes_only_its_connection(shim, frame):
    bad = shim.connect()
    bad.socket.sendall(frame)
    assert is_closed(bad.socket)
    assert shim.client.call("State").pause_pid == 0


def test_streams_must_rise(shim):
    client = shim.connect()
    payload = envelope("State")
    client.socket.sendall((HEADER.pack(len(payload), 5, 1, 0) + payload))
    client._methods[5] = "State"
    client.finish(5)
    client.socket.sendall((HEADER.pack(len(payload), 3, 1, 0) + payload))
    assert is_closed(client.socket)


def test_frames_in_any_pieces(shim):
    client = shim.connect()
    wire = b""
    for stream in (1, 3, 5):
        payload = envelope("State", b"\x0a\x04abcd")
        wire += HEADER.pack(len(payload), stream, 1, 0) + payload
        client._methods[stream] = "State"
    for index in range(len(wire)):
        client.socket.sendall(wire[index:index + 1])
    for stream in (5, 3, 1):
        client.finish(stream)


def test_largest_request(shim):
    client = shim.connect()
    with pytest.raises(ShimError) as error:
        request = pb.KillRequest(container_id="x" * ((4 << 20) - 100), signal=9)
        client.call("Kill", request)
    assert error.value.code == NOT_FOUND


def test_unknown_method_and_service(shim):
    client = shim.connect()
    for service, method in (("swiftlet.shim.v1.Shim", "Nothing"), ("other", "State")):
        client._stream += 2
        payload = pb.Request(service=service, method=method).SerializeToString()
        client.socket.sendall(HEADER.pack(len(payload), client._stream, 1, 0) + payload)
        client._methods[client._stream] = "State"
        with pytest.raises(ShimError) as error:
            client.finish(client._stream)
        assert error.value.code == UNIMPLEMENTED


def test_malformed_payload_is_answered(shim):
    client = shim.connect()
    client._stream += 2
    payload = envelope("Start", b"\xff\xff")
    client.socket.sendall(HEADER.pack(len(payload), client._stream, 1, 0) + payload)
    client._methods[client._stream] = "Start"
    with pytest.raises(ShimError) as error:
        client.finish(client._stream)
    assert error.value.code == INVALID_ARGUMENT


def test_only_root_may_ask(shim):
    os.chmod(shim.socket_path, 0o666)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        result = b"?"
        try:
            folder = os.open(shim.directory, os.O_PATH)
            os.setresuid(65534, 65534, 65534)
            os.fchdir(folder)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect("shim.sock")
            result = b"closed" if is_closed(connection) else b"open"
        except OSError as error:
            result = str(error).encode()
        finally:
            os.write(writer, result)
            os._exit(0)
    os.close(writer)
    assert read(reader) == b"closed"
    os.close(reader)
    os.waitpid(child, 0)


def test_nothing_before_start_sandbox(shim):
    for method, request in (
        ("Start", pb.StartRequest(container_id="c")), ("ExecSync", pb.ExecSyncRequest(container_id="c")),
        ("Kill", pb.KillRequest(container_id="c", signal=9)), ("ReopenLog", pb.ReopenLogRequest(container_id="c")),
    ):
        with pytest.raises(ShimError) as error:
            shim.client.call(method, request)
        assert error.value.code in (FAILED_PRECONDITION, NOT_FOUND), method


def test_start_sandbox_once(pod):
    with pytest.raises(ShimError) as error:
        pod.start()
    assert error.value.code == FAILED_PRECONDITION
    assert pod.id in error.value.message


def test_start_sandbox_needs_its_network(shim):
    request = pb.StartSandboxRequest(
        sandbox_id=shim.id, namespaces=pb.Namespaces(network=POD), pause_path="/nonexistent")
    with pytest.raises(ShimError) as error:
        shim.client.call("StartSandbox", request)
    assert error.value.code == INVALID_ARGUMENT


def test_start_sandbox_may_be_tried_again(shim):
    with pytest.raises(ShimError) as error:
        shim.start(pause_path="/nonexistent")
    assert error.value.failure.errno == 2
    shim.start()
    assert shim.response.pause_pid > 0


def test_pause_is_where_it_says(pod):
    stat = open(f"/proc/{pod.response.pause_pid}/stat").read()
    assert int(stat.rsplit(")")[1].split()[19]) == pod.response.pause_start_time
    assert pod.response.shim_pid == pod.process.pid
    assert pod.client.call("State").pause_start_time == pod.response.pause_start_time
    assert pod.groups[1].processes() == [pod.response.pause_pid]


def test_host_network(shim):
    shim.start(network=NODE, hostname="")
    namespace = os.readlink(f"/proc/{shim.response.pause_pid}/ns/net")
    assert namespace == os.readlink("/proc/self/ns/net")


def test_shim_cannot_be_looked_into(pod):
    status = open(f"/proc/{pod.process.pid}/status").read()
    assert os.stat(f"/proc/{pod.process.pid}/environ").st_uid == 0
    ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
        assert ignored & 1 << (number - 1)


def test_shutdown_only_after_stop(pod):
    with pytest.raises(ShimError) as error:
        pod.client.call("Shutdown")
    assert error.value.code == FAILED_PRECONDITION
    pod.client.call("StopSandbox")
    pod.client.call("StopSandbox")
    pod.client.call("Shutdown")
    assert pod.process.wait(60) == 0


def test_pause_death_is_an_exit(pod):
    stream = pod.client.begin("WaitExits", pb.WaitExitsRequest())
    os.kill(pod.response.pause_pid, signal.SIGKILL)
    (exit,) = pod.client.finish(stream).exits
    assert (exit.container_id, exit.exit_code, exit.sequence) == ("", 137, 1)
    with pytest.raises(ShimError) as error:
        pod.run("c", "true")
    assert error.value.code == FAILED_PRECONDITION


def test_pause_ends_on_term(pod):
    stream = pod.client.begin("WaitExits", pb.WaitExitsRequest())
    os.kill(pod.response.pause_pid, signal.SIGTERM)
    (exit,) = pod.client.finish(stream).exits
    assert exit.container_id == ""
    assert exit.exit_code in (0, 128 + signal.SIGTERM), "143: before it was ready"


def test_leaves_by_itself_when_all_is_acknowledged(pod):
    pod.client.call("StopSandbox")
    stream = pod.client.begin("WaitExits", pb.WaitExitsRequest(acknowledged=1))
    assert not pod.client.finish(stream).exits
    assert pod.process.wait(60) == 0


def test_wait_exits_deadline_and_newer_caller(pod):
    with pytest.raises(ShimError) as error:
        pod.client.call("WaitExits", timeout_nano=10_000_000)
    assert error.value.code == DEADLINE_EXCEEDED
    other = pod.connect()
    older = other.begin("WaitExits", pb.WaitExitsRequest())
    other.call("State")
    newer = pod.client.begin("WaitExits", pb.WaitExitsRequest())
    assert not other.finish(older).exits
    pod.run("c", "true")
    assert [exit.container_id for exit in pod.client.finish(newer).exits] == ["c"]
    with pytest.raises(ShimError) as error:
        pod.exits(acknowledged=2)
    assert error.value.code == INVALID_ARGUMENT
