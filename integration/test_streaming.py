"""Exec and Attach as kubectl's and crictl's clients use them, over SPDY and WebSocket."""

import pytest

from lib import spdy, wait
from lib.cri import SLEEPER
from lib.streams import SpdyCommand, WebSocketCommand, attach_url, exec_url, roles
from lib.stubs import pb

pytestmark = pytest.mark.usefixtures("listening")
# One of each transport, and every sub-protocol.
TRANSPORTS = [SpdyCommand, WebSocketCommand]
PROTOCOLS = [(SpdyCommand, "v4.channel.k8s.io"), (SpdyCommand, "v3.channel.k8s.io"), (SpdyCommand, "v2.channel.k8s.io"),
             (SpdyCommand, "channel.k8s.io"), (WebSocketCommand, "v5.channel.k8s.io"),
             (WebSocketCommand, "v4.channel.k8s.io"), (WebSocketCommand, "v4.base64.channel.k8s.io"),
             (WebSocketCommand, "channel.k8s.io"), (WebSocketCommand, "base64.channel.k8s.io"), (WebSocketCommand, "")]


@pytest.mark.parametrize("kind, protocol", PROTOCOLS)
def test_output_and_exit_code(execute, kind, protocol):
    script = "printf 'a\\0b\\n'; head -c 70000 /dev/zero; echo -n no >&2; exit 7"
    command = execute(kind, script, protocol).finish()
    assert command.output() == b"a\0b\n" + bytes(70000)
    assert command.output("stderr") == b"no"
    if protocol[:2] in ("v4", "v5"):
        assert command.status["status"] == "Failure" and command.status["reason"] == "NonZeroExitCode"
        assert command.status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    else:
        assert b"exit status 7" in command.output("error")
    success = execute(kind, "true", protocol).finish()
    assert success.output() == b"" and (not success.output("error") or success.status["status"] == "Success")


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_input_ends_and_output_goes_on(execute, kind):
    """More than any buffer on the way holds, in both directions."""
    command = execute(kind, "sort -u; echo end", stdin=True)
    for _ in range(64):
        command.send(b"same line\n" * 3000)
    command.send(b"another\n")
    command.end_input()
    command.finish()
    assert command.output() == b"another\nsame line\nend\n"
    assert command.status == {"metadata": {}, "status": "Success"}


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_the_end_of_the_command_ends_the_session_though_input_is_open(execute, kind):
    assert execute(kind, "echo -n hello", stdin=True).finish().output() == b"hello"


def test_a_terminal_that_is_resized(execute):
    for kind in TRANSPORTS:
        script = "trap 'stty size; exit 3' WINCH; tty; echo $TERM; echo ready; while :; do sleep 0.1; done"
        command = execute(kind, script, stdin=True, tty=True)
        assert b"/dev/pts/" in command.read_until(b"ready\r\n")
        assert b"xterm\r\n" in command.output()
        command.resize(0, 0)
        command.resize(123, 45)
        command.finish()
        assert b"45 123\r\n" in command.output()
        assert command.status["details"]["causes"][0]["message"] == "3"


def test_a_terminal_hangs_up_when_its_client_leaves(execute, running):
    command = execute(SpdyCommand, "echo ready; exec sleep 7654", stdin=True, tty=True)
    command.read_until(b"ready")
    command.vanish()
    wait.until(lambda: "7654" not in running.shell("ps"), "the hang-up")


def test_a_missing_program_is_told(running, space):
    for kind in TRANSPORTS:
        for tty in (False, True):
            command = kind(space, exec_url(running, "/no/such/program", tty=tty), roles(tty=tty)).finish()
            assert command.status["reason"] == "InternalError" and command.status["code"] == 500
            assert "/no/such/program" in command.status["message"] and "ENOENT" in command.status["message"]
            command.close()


def test_a_child_that_keeps_the_output_does_not_keep_the_client(execute):
    """ATTACKS D02: what comes in the next seconds still comes."""
    command = execute(SpdyCommand, "(sleep 1; echo later; exec sleep 60) & echo now; exit 4").finish()
    assert command.output() == b"now\nlater\n"
    assert command.status["details"]["causes"][0]["message"] == "4"


# attach

def test_attach_with_stdin_once(pod, space):
    """As critest: a shell, one command, its output and nothing more, and the end when the input ends."""
    for number, kind in enumerate(TRANSPORTS):
        container = pod.run(["/bin/sh"], name=f"sh-{number}", stdin=True, stdin_once=True)
        client = kind(space, attach_url(container, stdin=True), roles(stdin=True))
        client.send(b"echo -n hello\n")
        assert client.read_until(b"hello") == b"hello"
        client.end_input()
        client.finish()
        assert client.output() == b"hello" and client.status["status"] == "Success"
        assert container.wait().exit_code == 0
        client.close()


def test_two_clients_of_one_container(pod, space):
    """Both see what comes, both may type; one leaves, and neither the other nor the container minds."""
    container = pod.run(["/bin/cat"], stdin=True)
    first = SpdyCommand(space, attach_url(container, stdin=True), roles(stdin=True))
    second = WebSocketCommand(space, attach_url(container, stdin=True), roles(stdin=True))
    # A line of each that both have seen: from here on both are there.
    seen = wait.until(lambda: meet(first, second), "both clients")
    first.send(b"from first\n")
    second.read_until(b"from first\n")
    first.read_until(b"from first\n")
    first.vanish()
    second.send(b"from second\n")
    assert second.read_until(b"from second\n").endswith(b"from first\nfrom second\n"), seen
    container.stop()
    second.finish()
    assert second.status["status"] == "Success"
    second.close()


def meet(first, second) -> bool:
    first.send(b"meet\n")
    first.read_until(b"meet\n")
    second.send(b"met\n")
    second.read_until(b"met\n")
    first.read_until(b"met\n")
    return True


def test_attach_to_a_terminal(pod, space):
    script = "trap 'stty size' WINCH; echo ready; until read -t 1 line; do :; done; echo got $line"
    container = pod.run(["sh", "-c", script], stdin=True, tty=True)
    wait.until(lambda: "ready" in container.log_text(), "the trap")
    client = SpdyCommand(space, attach_url(container, stdin=True, tty=True), roles(stdin=True, tty=True))
    client.resize(99, 33)
    client.read_until(b"33 99\r\n")
    client.send(b"this\n")
    client.finish()
    assert b"got this\r\n" in client.output() and client.status["status"] == "Success"
    client.close()


# what is refused

def test_requests_that_make_no_sense(running, pod):
    client = running.client

    def code(method: str, **fields):
        return client.refused(method, **fields).code.name

    cmd, id = ["true"], running.id
    assert code("Exec", cmd=cmd, stdout=True) == "INVALID_ARGUMENT"
    assert code("Exec", container_id="0" * 64, cmd=cmd, stdout=True) == "NOT_FOUND"
    assert code("Exec", container_id=id, stdout=True) == "INVALID_ARGUMENT"
    assert code("Exec", container_id=id, cmd=cmd) == "INVALID_ARGUMENT"
    assert code("Exec", container_id=id, cmd=cmd, stdout=True, stderr=True, tty=True) == "INVALID_ARGUMENT"
    assert code("Attach", container_id=id) == "INVALID_ARGUMENT"
    assert code("Attach", container_id=id, stdout=True, tty=True) == "INVALID_ARGUMENT"
    assert code("Attach", container_id="0" * 64, stdout=True) == "NOT_FOUND"
    assert code("PortForward") == "INVALID_ARGUMENT"
    assert code("PortForward", pod_sandbox_id="0" * 64) == "NOT_FOUND"
    assert code("PortForward", pod_sandbox_id=pod.id, port=[0]) == "INVALID_ARGUMENT"
    created = pod.create(SLEEPER, name="created")
    assert code("Exec", container_id=created.id, cmd=cmd, stdout=True) == "FAILED_PRECONDITION"
    assert code("Attach", container_id=created.id, stdout=True) == "FAILED_PRECONDITION"
    pod.stop()
    assert code("PortForward", pod_sandbox_id=pod.id) == "FAILED_PRECONDITION"


def test_a_container_that_has_ended_before_the_client_comes(pod, space):
    container = pod.run(SLEEPER)
    url = exec_url(container, "true")
    container.stop()
    client = SpdyCommand(space, url, roles()).finish()
    assert client.status["status"] == "Failure" and "not running" in client.status["message"]
    client.close()


def status(space, url: str, *protocols: str, **more) -> int:
    with pytest.raises(spdy.Refused) as refused:
        spdy.connect(space, url, *protocols, **more)
    return refused.value.status


def test_a_url_is_good_once_and_for_its_kind(running, space):
    url = exec_url(running, "echo", "hi")
    assert url.startswith("http://127.0.0.1:") and len(url.rsplit("/", 1)[1]) == 32
    v4 = "v4.channel.k8s.io"
    assert status(space, url.replace("/exec/", "/attach/"), v4) == 404
    assert status(space, url[:-1] + ("0" if url[-1] != "0" else "1"), v4) == 404
    assert status(space, url, v4, method="DELETE") == 405
    command = SpdyCommand(space, url, roles()).finish()
    assert command.output() == b"hi\n"
    assert status(space, url, v4) == 404
    assert status(space, exec_url(running, "true"), "v9.channel.k8s.io") == 403
    assert status(space, exec_url(running, "true")) == 400
    command.close()


# the server's own life

def test_where_it_listens_is_the_configurations(make_daemon):
    """A port that is taken is told to who asks, and taken as soon as it is free; keys and values are checked."""
    daemon = make_daemon(start=False, settings={"streaming": {"address": "127.0.0.2", "port": 40123}})
    text = daemon.config.read_text()
    for key, value in [("address", '"localhost"'), ("address", "1"), ("port", "65536"), ("port", "-1")]:
        daemon.config.write_text(f"[streaming]\n{key} = {value}\n")
        code, output = daemon.run_to_end()
        assert code != 0 and f"streaming.{key}" in output, (value, output)
    daemon.config.write_text(text)
    daemon.start()
    request = pb.PortForwardRequest(pod_sandbox_id=daemon.client.run_pod().id)
    with daemon.node.inside.listen("127.0.0.2", 40123):
        refused = daemon.client.refused("PortForward", request)
        assert refused.code.name == "UNAVAILABLE" and "127.0.0.2" in refused.text and "40123" in refused.text
    url = daemon.client.call("PortForward", request).url
    assert url.startswith("http://127.0.0.2:40123/portforward/")
    assert status(daemon.node.inside, url, "v4.channel.k8s.io") == 403


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_daemon_that_ends_ends_no_container_s_input(make_daemon, end):
    """With stdin_once the end of a client's input is the container's; the end of the daemon is nobody's."""
    daemon = make_daemon()
    container = daemon.client.run_pod().run(["cat"], stdin=True, stdin_once=True)
    wanted = dict(stdin=True, stdout=True)

    def attach(word):
        client = WebSocketCommand(daemon.node.inside, attach_url(container, **wanted), roles(**wanted))
        client.send(word)
        assert client.read_until(word) == word
        return client

    left = attach(b"one\n")
    getattr(daemon, end)()
    daemon.start()
    client = attach(b"two\n")
    client.end_input()
    client.finish()
    assert client.status["status"] == "Success" and container.wait().exit_code == 0
    client.close()
    left.close()


def test_a_daemon_that_stops_ends_its_sessions_and_no_command(make_daemon):
    daemon = make_daemon()
    container = daemon.client.run_pod().run(SLEEPER)
    sessions = []
    for kind in TRANSPORTS:
        url = exec_url(container, "sh", "-c", "echo up; exec sleep 8765", stdin=True)
        sessions.append(kind(daemon.node.inside, url, roles(stdin=True)))
        sessions[-1].read_until(b"up\n")
    assert daemon.terminate() == 0
    for session in sessions:
        session.finish()
        assert session.status["status"] == "Failure" and session.status["reason"] != "NonZeroExitCode", session.status
    daemon.start()
    assert container.shell("ps").count("sleep 8765") == 2
    for session in sessions:
        session.close()
