"""ExecSync: output, codes, limits, time and callers that go away (CRI.md 5.6, ATTACKS D01 and D02)."""

import os
import pathlib
import resource
import time

import pytest

from lib import wait
from pod import NODE
from ttrpc import ShimError, pb

NOT_FOUND = 5
LARGEST = (16 << 20) - (64 << 10)


@pytest.fixture
def busy(pod):
    pod.run("c", "sleep 100000")
    return pod


def alive(pod, name: str) -> list[str]:
    """Command lines in the pod's cgroups that contain `name`."""
    found = []
    for group in pod.groups:
        for pid in group.processes():
            try:
                line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if name in line:
                found.append(line)
    return found


def until_gone(pod, name: str) -> None:
    wait.until(lambda: not alive(pod, name), f"end of {name}", 60)


def test_output_and_code(busy):
    answer = busy.execute("c", "echo out; echo err >&2; exit 42")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 42)
    assert not answer.timed_out and not answer.truncated


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1 << 20, LARGEST - 100])
def test_sizes(busy, size):
    answer = busy.execute("c", f"echo err >&2; head -c {size} /dev/zero")
    assert (len(answer.stdout), answer.stderr, answer.exit_code, answer.truncated) == (size, b"err\n", 0, False)


def test_output_has_a_limit(busy):
    answer = busy.execute("c", "head -c 40000000 /dev/zero; exit 3")
    assert (len(answer.stdout), answer.exit_code, answer.truncated) == (LARGEST, 3, True)
    answer = busy.execute("c", "echo 12345; echo 67890 >&2; exit 4", limit=8)
    assert (len(answer.stdout) + len(answer.stderr), answer.exit_code, answer.truncated) == (8, 4, True)


def test_killed(busy):
    assert busy.execute("c", "kill -9 $$").exit_code == 137
    assert busy.execute("c", "kill -TERM $$").exit_code == 143


def test_missing_program_is_an_error(busy):
    request = busy.exec_request("c", "")
    del request.process.argv[:]
    request.process.argv.append(b"/nonexistent")
    with pytest.raises(ShimError) as error:
        busy.client.call("ExecSync", request)
    assert error.value.failure.errno == 2


def test_unknown_container(busy):
    with pytest.raises(ShimError) as error:
        busy.execute("other", "true")
    assert error.value.code == NOT_FOUND and "other" in error.value.message


ONE, TWO, DEAF = "sleep 4711", "sleep 4711 & sleep 4711", "trap '' TERM; sleep 4711; true"
SESSION = "(setsid sleep 4711 &) ; sleep 4711"


# In the container's group an orphan in another session cannot be told from the container's own processes.
@pytest.mark.parametrize("own_group, script", [
    (True, ONE), (True, TWO), (True, SESSION), (True, DEAF), (False, ONE), (False, TWO), (False, DEAF)])
def test_timeout_kills_all_of_it(busy, own_group, script):
    """The answer comes soon after the time, with what was written before it. On a busy machine the command may not get
    to its first word in a short time, nor the answer to us: then it is given a longer one."""
    for timeout in (0.5, 1, 2, 4, 8):
        began = time.monotonic()
        answer = busy.execute("c", f"echo before; {script}", timeout=timeout, own_group=own_group)
        late = time.monotonic() - began - timeout
        assert (answer.timed_out, answer.exit_code) == (True, 137)
        until_gone(busy, "4711")
        assert [task.container_id for task in busy.client.call("State").tasks] == ["c"]
        if answer.stdout and late < 3.5:
            break
    assert answer.stdout == b"before\n" and late < 3.5


def test_timeout_in_the_nodes_pid_namespace(shim):
    shim.start(pid=NODE)
    shim.run("c", "sleep 100000")
    answer = shim.execute("c", "setsid sleep 4711 & sleep 4711", timeout=0.3)
    assert answer.timed_out
    until_gone(shim, "4711")


def test_background_child_holds_the_output(busy):
    began = time.monotonic()
    answer = busy.execute("c", "sleep 4711 & echo started; exit 6")
    assert 4 < time.monotonic() - began
    assert (answer.stdout, answer.exit_code, answer.timed_out) == (b"started\n", 6, False)
    assert alive(busy, "4711")
    for timeout in (0.5, 1, 2, 4):  # the command itself must have ended within it, which takes a busy machine longer
        answer = busy.execute("c", "sleep 4712 & exit 6", timeout=timeout)
        if not answer.timed_out:
            break
    assert (answer.exit_code, answer.timed_out) == (6, False)


def test_caller_goes_away(busy):
    client = busy.connect()
    client.begin("ExecSync", busy.exec_request("c", "sleep 4711 & sleep 4711"))
    wait.until(lambda: len(alive(busy, "sleep 4711")) > 1, "the command and its child", 60)
    client.close()
    until_gone(busy, "4711")
    assert busy.execute("c", "echo still").stdout == b"still\n"


def test_callers_own_deadline(busy):
    with pytest.raises(ShimError) as error:
        busy.client.call("ExecSync", busy.exec_request("c", "sleep 4711"), timeout_nano=200_000_000)
    assert error.value.code == 4
    until_gone(busy, "4711")


def test_many_at_once(busy):
    streams = {}
    for number in range(40):
        streams[number] = busy.client.begin("ExecSync", busy.exec_request("c", f"echo {number}; exit {number}"))
    for number, stream in streams.items():
        answer = busy.client.finish(stream)
        assert (answer.stdout, answer.exit_code) == (b"%d\n" % number, number)


def rss(pid: int) -> int:
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def test_memory_stays_small_and_comes_back(busy):
    clients = [busy.connect() for _ in range(20)]
    streams = [
        client.begin("ExecSync", busy.exec_request("c", "head -c 50000000 /dev/zero; exit 9")) for client in clients]
    for client, stream in zip(clients, streams):
        answer = client.finish(stream, 180)
        assert answer.exit_code == 9
        assert rss(busy.process.pid) < 40 << 10
        client.close()
    wait.until(lambda: rss(busy.process.pid) <= 2 << 10, "memory to be given back", 60)
    assert len(busy.execute("c", f"head -c {LARGEST} /dev/zero").stdout) == LARGEST, "the budget came back"


def test_descriptors_come_back(busy):
    folder = f"/proc/{busy.process.pid}/fd"
    busy.client.call("State")  # by then it is through with what it has told
    before = sorted(os.readlink(f"{folder}/{name}").split(":")[0] for name in os.listdir(folder))
    for _ in range(100):
        busy.execute("c", "true", own_group=False)
    with pytest.raises(ShimError):
        busy.client.call("Start", busy.container_request("d", ["/nonexistent"]))
    busy.run("e", "true")
    busy.wait_exit("e")
    busy.client.call("State")
    assert sorted(os.readlink(f"{folder}/{name}").split(":")[0] for name in os.listdir(folder)) == before
    children = pathlib.Path(f"/proc/{busy.process.pid}/task/{busy.process.pid}/children")
    assert len(children.read_text().split()) == 2, "pause and the container"


def test_slow_reader_disturbs_nobody(busy):
    slow = busy.connect()
    streams = [slow.begin("ExecSync", busy.exec_request("c", "head -c 8000000 /dev/zero")) for _ in range(3)]
    for number in range(50):
        assert busy.execute("c", f"echo {number}").stdout == b"%d\n" % number
    for stream in streams:
        assert len(slow.finish(stream).stdout) == 8000000


def test_storm_leaves_no_zombies_and_mixes_nothing_up(busy):
    for start in range(0, 500, 50):
        streams = {
            number: busy.client.begin(
                "ExecSync", busy.exec_request("c", f"echo {number}; exit {number % 256}", own_group=False))
            for number in range(start, start + 50)}
        for number, stream in streams.items():
            answer = busy.client.finish(stream)
            assert (answer.stdout, answer.exit_code) == (b"%d\n" % number, number % 256)
    children = pathlib.Path(f"/proc/{busy.process.pid}/task/{busy.process.pid}/children").read_text().split()
    assert len(children) == 2, "pause and the container"


def test_fork_bomb_ends_with_its_time(busy):
    # Not by a child: there may be no room for one any more.
    request = busy.exec_request("c", "f() { f | f & }; f; exec sleep 4711", timeout=0.5)
    for directory in busy.groups[-1].directories:
        limit = directory / "pids.max"
        if limit.exists():
            limit.write_text("200")
    assert busy.client.call("ExecSync", request).timed_out
    wait.until(lambda: not busy.groups[-1].processes(), "end of the bomb", 60)
    assert busy.execute("c", "echo alive").stdout == b"alive\n"


def test_descriptors_run_out(busy):
    """Refused with a reason, nothing spins, and everything works again afterwards."""
    go = pathlib.Path(f"/proc/{busy.client.call('State').tasks[0].pid}/root/tmp/go")
    resource.prlimit(busy.process.pid, resource.RLIMIT_NOFILE, (48, 1024))
    script = "while [ ! -e /tmp/go ]; do sleep 0.05; done"  # none of them ends before all have come
    streams = [busy.client.begin("ExecSync", busy.exec_request("c", script, own_group=False)) for _ in range(30)]
    busy.client.call("State")
    go.touch()
    codes = set()
    for stream in streams:
        try:
            codes.add(busy.client.finish(stream).exit_code)
        except ShimError as error:
            codes.add(-error.code)
    assert codes == {0, -8}
    waiting = [busy.connect() for _ in range(60)]
    before = cpu(busy.process.pid)
    assert busy.client.call("State").tasks
    time.sleep(0.3)
    assert cpu(busy.process.pid) - before < 10, "ticks"
    for client in waiting:
        client.close()
    assert busy.connect().call("State").tasks


def cpu(pid: int) -> int:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()
    return int(fields[11]) + int(fields[12])
