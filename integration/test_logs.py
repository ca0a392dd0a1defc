"""CRI log files, as CRI.md 4 has them."""

import os
import re
import stat
import time

import pytest

from lib import logs, wait
from lib.cri import SLEEPER
from lib.stubs import pb

LIMIT = 16384


def records(pod, script: str, **more):
    container = pod.run(["sh", "-c", script], **more)
    container.wait()
    return container.log()


def test_lines_of_both_streams(pod):
    found = records(pod, "echo one; echo two >&2; echo three")
    assert [(r.stream, r.full, r.content) for r in found if r.stream == "stdout"] == [
        ("stdout", True, b"one"), ("stdout", True, b"three")]
    assert [(r.full, r.content) for r in found if r.stream == "stderr"] == [(True, b"two")]


def test_an_empty_line_keeps_its_trailing_space(pod):
    container = pod.run(["sh", "-c", "echo; echo x"])
    container.wait()
    with open(container.log_path, "rb") as file:
        first = file.readline()
    assert re.fullmatch(rb"\S+ stdout F \n", first), first


def test_a_line_without_newline_at_the_end_is_partial(pod):
    found = records(pod, "echo whole; printf rest")
    assert [(r.full, r.content) for r in found] == [(True, b"whole"), (False, b"rest")]


def test_carriage_return_before_newline_is_dropped_and_no_other(pod):
    assert [r.content for r in records(pod, r"printf 'a\r\nb\rc\nd\r'")] == [b"a", b"b\rc", b"d\r"]


@pytest.mark.parametrize("length", [LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT, 40000, 300000])
def test_long_lines_are_split_at_the_limit(pod, length):
    found = records(pod, f"head -c {length} /dev/zero | tr '\\0' x; echo; echo after")
    assert found[-1].content == b"after"
    pieces = found[:-1]
    assert logs.content(pieces) == b"x" * length + b"\n"
    assert all(not piece.full and len(piece.content) == LIMIT for piece in pieces[:-1])
    assert pieces[-1].full and len(pieces[-1].content) <= LIMIT


def test_every_byte_value_comes_through(pod):
    script = "i=1; while [ $i -lt 256 ]; do [ $i != 10 ] && printf \"\\\\$(printf %03o $i)\"; i=$((i+1)); done; echo"
    (record,) = records(pod, script)
    expected = bytes(value for value in range(1, 256) if value != 10)
    assert record.content == expected


def test_nul_bytes_come_through(pod):
    (record,) = records(pod, r"printf 'a\0b\n'")
    assert record.content == b"a\0b"


def test_times_are_the_nodes(pod):
    """Between those before and after each line."""
    def clock() -> str:
        now = time.time_ns()
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10 ** 9)) + f".{now % 10 ** 9:09}Z"

    before = clock()
    container = pod.run(["sh", "-c", "echo one; until [ -e /go ]; do sleep 0.02; done; echo two"])
    wait.until(container.log, "the first line")
    between = clock()
    container.shell("touch /go")
    container.wait()
    one, two = container.log()
    assert before < one.time < between < two.time < clock()


def test_times_rise(pod):
    found = records(pod, "for i in $(seq 500); do echo $i; echo $i >&2; done")
    assert len(found) == 1000
    for stream in ("stdout", "stderr"):
        own = [r for r in found if r.stream == stream]
        assert [r.content for r in own] == [str(i).encode() for i in range(1, 501)]
        assert [r.time for r in own] == sorted(r.time for r in own)


def test_the_directory_is_the_requests_and_all_else_the_pods(cri, pod, tmp_path):
    """CreateContainer has the pod's configuration in it again."""
    config = pb.PodSandboxConfig()
    config.CopyFrom(pod.config)
    config.log_directory, config.hostname = str(tmp_path / "new"), "other"
    id = cri.call("CreateContainer", pod_sandbox_id=pod.id, config=pod.container_config(["hostname"]),
                  sandbox_config=config).container_id
    cri.call("StartContainer", container_id=id)
    wait.until(lambda: logs.read(tmp_path / "new/main/0.log"), "the log's line")
    assert logs.text(tmp_path / "new/main/0.log") == f"{pod.config.hostname}\n"


def test_the_file_is_there_when_start_returns(pod):
    container = pod.run(SLEEPER)
    info = os.stat(container.log_path)
    assert stat.S_IMODE(info.st_mode) == 0o640 and info.st_uid == 0
    assert stat.S_IMODE(os.stat(os.path.dirname(container.log_path)).st_mode) == 0o755


def test_without_a_log_path_output_is_thrown_away(cri):
    pod = cri.run_pod(log_directory="")
    status = pod.run(["sh", "-c", "seq 1 100000"]).wait()
    assert status.exit_code == 0
    assert not status.log_path


def test_output_is_written_while_the_program_runs(pod):
    from lib import wait

    container = pod.run(["sh", "-c", "echo early; sleep 1000"])
    wait.until(lambda: container.log_text() == "early\n", "the line")


def test_a_fast_writer_loses_nothing(pod):
    container = pod.run(["seq", "1", "200000"])
    container.wait(60)
    assert container.log_text() == "".join(f"{i}\n" for i in range(1, 200001))


def test_two_containers_have_two_files(pod):
    first, second = pod.run(["echo", "1"], name="first"), pod.run(["echo", "2"], name="second")
    first.wait(), second.wait()
    assert (first.log_text(), second.log_text()) == ("1\n", "2\n")


def test_a_log_file_already_there_is_appended_to(pod):
    first = pod.run(["echo", "1"], log_path="same.log", name="first")
    first.wait()
    second = pod.run(["echo", "2"], log_path="same.log", name="second")
    second.wait()
    assert second.log_text() == "1\n2\n"
