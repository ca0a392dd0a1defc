"""ExecSync: output, exit codes, the container's own context, time limits."""

import time

import grpc
import pytest

from lib import wait
from lib.cri import SLEEPER, security
from lib.failpoints import Call
from lib.stubs import pb


def test_output_comes_back_byte_for_byte(running):
    answer = running.execute("sh", "-c", "echo -n hello; printf 'no\\0newline\\377' >&2")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"hello", b"no\0newline\xff", 0)


@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137),
                                          ("kill -TERM $$", 143)])
def test_exit_codes(running, script, code):
    assert running.execute("sh", "-c", script).exit_code == code


@pytest.mark.parametrize("program, why", [
    ("/no/such/program", "no such file or directory (ENOENT)"),
    ("nosuch", "executable file not found in $PATH (ENOENT)"),
    ("/etc/passwd", "permission denied (EACCES)"), ("/tmp", "permission denied (EACCES)")])
def test_a_program_that_cannot_be_run_is_an_error_of_the_call(running, program, why):
    refused = running.client.refused("ExecSync", container_id=running.id, cmd=[program])
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refused.text.endswith(f': exec: "{program}": {why}') and running.id[:12] in refused.text, refused.text


def test_no_command_is_refused(running):
    refused = running.client.refused("ExecSync", container_id=running.id)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT


def test_only_a_running_container_runs_commands(pod):
    container = pod.create(SLEEPER)
    refused = container.client.refused("ExecSync", container_id=container.id, cmd=["true"])
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    container.start().stop()
    refused = container.client.refused("ExecSync", container_id=container.id, cmd=["true"])
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION


def test_the_time_limit_kills_the_command_and_its_children(running):
    """Grandchildren too, and what has left its session and its parent."""
    script = "(setsid sh -c 'sleep 4321 & sleep 4321' &) ; (trap '' TERM HUP; sleep 4321 &); sleep 4321"
    request = pb.ExecSyncRequest(container_id=running.id, cmd=["sh", "-c", script], timeout=1)
    began = time.monotonic()
    refused = running.client.refused("ExecSync", request)
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.9 <= time.monotonic() - began < 50
    wait.until(lambda: "4321" not in running.shell("ps"), "the end of what was killed")


def test_a_time_limit_without_end(running):
    """No clock overflows, here or in the shim."""
    def request(timeout: int):
        return pb.ExecSyncRequest(container_id=running.id, cmd=["echo", "x"], timeout=timeout)

    for timeout in (1 << 40, (1 << 63) - 1):
        assert running.client.call("ExecSync", request(timeout)).stdout == b"x\n"
    assert running.client.refused("ExecSync", request(-1)).code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_client_that_leaves_takes_the_command_with_it(running):
    refused = running.client.refused("ExecSync", timeout=0.5, container_id=running.id, cmd=["sleep", "8765"])
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    wait.until(lambda: "8765" not in running.shell("ps"), "end of the command")


def test_a_child_that_keeps_the_output_open_does_not_hold_the_answer_for_ever(running):
    """ATTACKS D02; many at once, and with the time limit as the nearer end."""
    began = time.monotonic()
    command = ["sh", "-c", "echo done; sleep 300 & exit 5"]
    calls = [Call(running.execute, *command, timeout=250) for _ in range(20)]
    answer = running.execute(*command, timeout=4)  # the shim waits for 5 s, and a busy machine needs time to begin
    for answer in [answer, *(call.result() for call in calls)]:
        assert (answer.stdout, answer.exit_code) == (b"done\n", 5)
    assert time.monotonic() - began < 200


def test_a_command_runs_as_what_the_container_is(pod):
    container = pod.run(
        SLEEPER, envs=[pb.KeyValue(key="GREETING", value=b"hi")], working_dir="/tmp",
        linux=security(run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=1234),
                       no_new_privs=True, seccomp=pb.SecurityProfile(),
                       capabilities=pb.Capability(drop_capabilities=["NET_RAW"])))
    fields = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/%s/status"
    assert container.shell("pwd; echo $GREETING") == "/tmp\nhi\n"
    assert container.shell(fields % "self") == container.shell(fields % 1)
    for name in ("mnt", "net", "pid", "ipc", "uts"):
        assert container.shell(f"readlink /proc/self/ns/{name}") == container.shell(f"readlink /proc/1/ns/{name}")


def test_much_output_is_cut_and_the_command_goes_on(running):
    answer = running.execute("sh", "-c", "dd if=/dev/zero bs=1M count=20 2>/dev/null; exit 3", timeout=60)
    assert answer.exit_code == 3
    assert 1 << 20 <= len(answer.stdout) <= 16 << 20


def test_many_commands_at_once(running):
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: running.execute("echo", str(number)).stdout, range(64)))
    assert answers == [f"{number}\n".encode() for number in range(64)]
