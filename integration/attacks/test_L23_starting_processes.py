"""L23: nothing of a process that is being started can be opened by its neighbours, who see it in the pod's PID
namespace while it still has the node's root, descriptors and memory (crun 1.31).

Many commands at full speed beside the same spy: test_L01. Here each start is held up at its last step (H4, by strace),
where its capabilities are the container's already and only that it is not dumpable keeps others out.

Seen to fail without PR_SET_DUMPABLE in the shim and in its children: descriptors, root, environment and working
directory are seen. With fs.suid_dumpable 1, which somebody who debugs may have set, they were seen also without the
calls after each change of user. With a user namespace only the order fails: the kernel itself keeps such a neighbour
out."""

import pytest

from lib import spy, tracing
from lib.cri import SLEEPER, security
from lib.stubs import pb
from lib.trace import children, processes, shim_of, until_exec
from test_userns import run_pod

ENTERING = ("setns", "unshare", "pivot_root", "execve", "execveat")
CHANGING = ("setresuid", "setresgid", "setfsuid", "setfsgid")


def shared_pod(cri, kind: str):
    return spy.shared_pod(cri) if kind == "ordinary" else run_pod(cri, pid=pb.POD)


@pytest.mark.parametrize("kind", ["ordinary", "user namespace"])
def test_a_process_at_its_last_step(cri, daemon, tmp_path, kind):
    pod = shared_pod(cri, kind)
    watcher, victim = spy.run(pod), pod.run(SLEEPER, name="victim")
    (shim,) = daemon.shims()
    with tracing.traced(shim, tmp_path / "trace", "execve", slow={"execve": 50_000}):
        for number in range(100):
            assert victim.execute("true").exit_code == 0
            pod.run(["true"], name=f"short-{number}").wait()
            if number >= 1 and "seen" in watcher.log_text():
                break
    assert "seen" in watcher.log_text() and not spy.findings(watcher)


@pytest.mark.parametrize("kind", ["ordinary", "user namespace"])
def test_not_dumpable_comes_before_all_else(cri, kind):
    """In a user namespace two more processes take part: who joins it, and who furnishes the root."""
    pod = shared_pod(cri, kind)
    with processes(pod, "clone3", "prctl", "capset", *CHANGING, *ENTERING) as found:
        pod.run(SLEEPER, linux=security(run_as_user=pb.Int64Value(value=1000))).shell("true")
    born = children(found, shim_of(pod))
    protected = set()
    for pid in sorted(born):
        for name, arguments, result in found[pid]:
            if "PR_SET_DUMPABLE" in arguments:
                assert "SUID_DUMP_DISABLE" in arguments
                protected.add(pid)
            elif name in ENTERING:
                assert pid in protected, found[pid][:8]
                break
            elif name == "clone3" and pid in protected:
                protected.add(result)  # the copy is as its original
    assert len(protected & born.keys()) >= 2
    # Whatever changes what it may do makes it as fs.suid_dumpable says, which need not be 0.
    changed = 0
    for pid, calls in found.items():
        exposed = ""
        for name, arguments, result in until_exec(calls) or calls:
            if "PR_SET_DUMPABLE" in arguments:
                exposed = ""
            elif name in CHANGING or "CLONE_NEWUSER" in arguments:
                exposed, changed = name, changed + 1
            else:
                assert not exposed or name in ("capset", "prctl"), (exposed, name, arguments)
    assert changed >= 4


def test_what_is_mounted_below_sys_is_read_only(pod):
    mounts = [line.split() for line in pod.output("cat /proc/self/mountinfo").splitlines()]
    below = {words[4]: words[5].split(",") for words in mounts if words[4].startswith("/sys")}
    assert "/sys" in below and all("ro" in options for options in below.values()), below
