"""The CRI log format, byte by byte (CRI.md 4)."""

import os
import re
import stat

import pytest

from ttrpc import ShimError, pb

RECORD = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)$", re.DOTALL)
LIMIT = 16384


def records(pod, name="c") -> list[tuple[bytes, bytes, bytes]]:
    content = pod.log_path(name).read_bytes()
    assert content == b"" or content.endswith(b"\n")
    found = []
    for line in content.split(b"\n")[:-1]:
        match = RECORD.match(line)
        assert match, line[:100]
        found.append(match.groups())
    return found


def logged(pod, script: str, **fields) -> list[tuple[str, bytes]]:
    pod.run("c", script, **fields)
    pod.wait_exit("c")
    return [(tag.decode(), content) for _, tag, content in records(pod)]


@pytest.mark.parametrize("script, expected", [
    (r"printf 'a\nb\n'", [("F", b"a"), ("F", b"b")]),
    (r"printf '\n'", [("F", b"")]),
    (r"printf '\r\n'", [("F", b"")]),
    (r"printf 'a\r\nb\rc\n'", [("F", b"a"), ("F", b"b\rc")]),
    (r"printf 'no end'", [("P", b"no end")]),
    (r"printf ''", []),
    (r"printf 'two '; sleep 0.1; printf 'pieces\n'", [("F", b"two pieces")]),
    (r"printf 'return\r'; sleep 0.1; printf '\n'", [("F", b"return")]),
    (r"printf '\000\377\n'", [("F", b"\x00\xff")]),
], ids=["lines", "empty", "return-only", "return", "unended", "nothing", "pieces", "split-return", "bytes"])
def test_content(pod, script, expected):
    assert logged(pod, script) == expected


@pytest.mark.parametrize("size, end, expected", [
    (LIMIT - 1, "\\n", [("F", LIMIT - 1)]),
    (LIMIT, "\\n", [("F", LIMIT)]),
    (LIMIT, "\\r\\n", [("F", LIMIT)]),
    (LIMIT + 1, "\\n", [("P", LIMIT), ("F", 1)]),
    (3 * LIMIT, "\\n", [("P", LIMIT), ("P", LIMIT), ("F", LIMIT)]),
    (3 * LIMIT, "\\r\\n", [("P", LIMIT), ("P", LIMIT), ("F", LIMIT)]),
    (LIMIT, "", [("P", LIMIT)]),
    (LIMIT + 5, "", [("P", LIMIT), ("P", 5)]),
    (200000, "\\n", [("P", LIMIT)] * 12 + [("F", 200000 - 12 * LIMIT)]),
])
def test_long_lines(pod, size, end, expected):
    got = logged(pod, f"dd if=/dev/zero bs={size} count=1 2>/dev/null | tr '\\000' x; printf '{end}'")
    assert [(tag, len(content)) for tag, content in got] == expected
    assert set(b"".join(content for _, content in got)) == {ord("x")}


def test_line_limit(pod):
    assert logged(pod, "echo abcdefgh", log_line_limit=3) == [("P", b"abc"), ("P", b"def"), ("F", b"gh")]


def test_streams_are_told_apart(pod):
    pod.run("c", "echo out; echo err >&2")
    pod.wait_exit("c")
    assert sorted(records(pod)) == [(b"stderr", b"F", b"err"), (b"stdout", b"F", b"out")]


def test_everything_is_there_when_the_exit_is_told(pod):
    got = logged(pod, "seq 1 200000")
    assert [content for _, content in got] == [b"%d" % number for number in range(1, 200001)]


def test_file_is_made_before_start_answers(pod):
    pod.run("c", "sleep 1000")
    status = pod.log_path("c").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert stat.S_IMODE(pod.log_path("c").parent.stat().st_mode) == 0o755


def test_no_log_path(pod):
    request = pod.container_request("c", ["sh", "-c", "seq 1 100000"])
    request.log_path = ""
    pod.client.call("Start", request)
    assert pod.wait_exit("c").exit_code == 0


def test_appends(pod):
    for number in range(2):
        pod.run("c", f"echo {number}")
        assert [exit.sequence for exit in pod.exits(acknowledged=number)] == [number + 1]
    assert [content for _, _, content in records(pod)] == [b"0", b"1"]


def test_reopen(pod):
    pod.run("c", "while true; do seq 1 100; done")
    rotated = []
    for number in range(20):
        target = pod.log_path("c").with_name(f"0.log.{number}")
        pod.log_path("c").rename(target)
        pod.client.call("ReopenLog", pb.ReopenLogRequest(container_id="c"))
        assert pod.log_path("c").exists()
        rotated.append(target)
    pod.client.call("Kill", pb.KillRequest(container_id="c", signal=9))
    pod.wait_exit("c")
    whole = b"".join(target.read_bytes() for target in rotated) + pod.log_path("c").read_bytes()
    numbers = [int(RECORD.match(line).group(3)) for line in whole.split(b"\n")[:-2]]
    assert all(number == index % 100 + 1 for index, number in enumerate(numbers))
    with pytest.raises(ShimError) as error:
        pod.client.call("ReopenLog", pb.ReopenLogRequest(container_id="c"))
    assert error.value.code == 5


@pytest.mark.parametrize("plant", ["link", "pipe", "hardlink", "directory"])
def test_only_a_file_of_ours(pod, plant):
    """ATTACKS D15: what somebody put where the log should be is not followed."""
    canary = pod.directory / "canary"
    canary.write_text("untouched")
    path = pod.log_path("c")
    path.parent.mkdir(parents=True)
    if plant == "link":
        path.symlink_to(canary)
    elif plant == "pipe":
        os.mkfifo(path)
    elif plant == "hardlink":
        os.link(canary, path)
    else:
        path.mkdir()
    with pytest.raises(ShimError) as error:
        pod.run("c", "echo overwritten")
    assert error.value.failure.step.startswith("open log")
    assert canary.read_text() == "untouched"
    assert not pod.client.call("State").tasks


def test_full_disk_does_not_stop_the_container(pod):
    small = pod.directory / "logs" / "c"
    small.mkdir(parents=True)
    os.system(f"mount -t tmpfs -o size=64k none {small}")
    try:
        pod.run("c", "seq 1 200000; exit 3")
        assert pod.wait_exit("c").exit_code == 3
        assert "lost" in (pod.directory / "shim.log").read_text()
        for line in pod.log_path("c").read_bytes().split(b"\n")[:-2]:
            assert RECORD.match(line), line
    finally:
        os.system(f"umount {small}")
