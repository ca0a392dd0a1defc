"""D01: what commands write costs the node a bounded amount of memory (CVE-2022-31030, CVE-2022-1708)."""

import pathlib
import threading

from lib import wait
from lib.cri import SLEEPER
from lib.failpoints import Call
from lib.stubs import pb

MIB = 1 << 20
PODS, COMMANDS, WRITTEN = 3, 4, 40 * MIB
SCRIPT = f"touch /here-$$; while [ ! -e /go ]; do usleep 5000; done; head -c {WRITTEN} /dev/zero; exit 3"


def memory(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def test_commands_that_write_much_all_at_once(cri, daemon):
    """One answer stays below what a client takes, all of them below a budget, shim and daemon small; no exit code is
    lost, and nobody waits for ever."""
    containers = [cri.run_pod().run(SLEEPER) for _ in range(PODS)]
    processes = [daemon.pid, *daemon.shims()]
    before = {pid: memory(pid) for pid in processes}
    peak, done = dict(before), threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            for pid in processes:
                peak[pid] = max(peak[pid], memory(pid))

    def execute(container):
        request = pb.ExecSyncRequest(container_id=container.id, timeout=180, cmd=["sh", "-c", SCRIPT])
        return cri.call("ExecSync", request, timeout=180)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        calls = [Call(execute, container) for container in containers for _ in range(COMMANDS)]
        for container in containers:
            wait.until(lambda c=container: c.shell("ls / | grep -c here- || true").strip() == str(COMMANDS),
                       "all commands at once")
        for container in containers:
            container.shell("touch /go")
        answers = [call.result(180) for call in calls]
    finally:
        done.set()
        watcher.join()
    sizes = [len(answer.stdout) + len(answer.stderr) for answer in answers]
    assert all(answer.exit_code == 3 for answer in answers)
    assert all(size <= 16 * MIB - 65536 for size in sizes), sizes
    # Of a pod: the first commands to write may leave nothing of its budget for the others.
    assert all(sum(sizes[first:first + COMMANDS]) > 0 for first in range(0, len(sizes), COMMANDS)), sizes
    assert sum(sizes) <= 64 * MIB + len(sizes) * MIB, sizes
    grown = {pid: (peak[pid] - before[pid]) // MIB for pid in processes}
    print(f"{sum(sizes) // MIB} MiB of {len(sizes) * WRITTEN // MIB} MiB came back; grown by, MiB: {grown}")
    assert all(grown[pid] < 48 for pid in processes[1:]), grown  # 32 MiB are a shim's for all commands of its pod
    assert grown[daemon.pid] < 5 * 76, grown  # the daemon has each answer in a few copies on its way
