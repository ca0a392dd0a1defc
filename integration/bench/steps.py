"""PART=steps: how many system calls a container's process makes between its clone and its program, by strace.

The last steps are those that follow when the root is furnished: from the working directory on. At most 60 is what we
hold (test_steps.py). Before them are the joins, the mounts, and what finds or makes the mounts' places.
"""

from __future__ import annotations

import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import images, kubelet, oci  # noqa: E402
from lib.cri import SLEEPER  # noqa: E402
from lib.daemon import Daemon  # noqa: E402
from lib.netns import Node  # noqa: E402
from lib.stubs import pb  # noqa: E402
from lib.trace import children, processes, shim_of  # noqa: E402

MOUNTS = {"fsopen", "fsconfig", "fsmount", "open_tree", "move_mount", "mount_setattr", "umount2", "pivot_root"}


def counted(pod, **more) -> list[list[str]]:
    """The calls of a container's first process and of a command in it, in order."""
    with processes(pod, "all") as found:
        container = pod.run(SLEEPER, **more)
        container.shell("true")
    return [[name for name, _, _ in calls] for calls in children(found, shim_of(pod)).values()]


def last_steps(calls: list[str]) -> list[str]:
    """From the last fchdir on, which enters the working directory."""
    return calls[len(calls) - 1 - calls[::-1].index("fchdir"):]


def main() -> None:
    node = Node()
    daemon = Daemon(node).start()
    try:
        daemon.client.load(oci.layout_archive({"docker.io/library/busybox:latest": images.busybox()}))
        pod = daemon.client.run_pod()
        volumes = [pb.Mount(container_path=f"/volumes/{n}", host_path=str(daemon.base)) for n in range(10)]
        print("| system calls from clone to exec | last steps | mounts | others |\n|---|---|---|---|")
        for name, more in (("container, nothing asked", {}),
                           ("container as kubelet asks", {"linux": kubelet.ordinary()}),
                           ("with 10 volumes", {"linux": kubelet.ordinary(), "mounts": volumes})):
            for label, calls in zip((name, "a command in it"), counted(pod, name=name.replace(" ", "-"), **more)):
                last, mounts = len(last_steps(calls)), sum(call in MOUNTS for call in calls)
                print(f"| {label} | {last} | {mounts} | {len(calls) - last - mounts} |")
                print("   ", collections.Counter(last_steps(calls)).most_common(), file=sys.stderr)
        daemon.client.remove_all()
    finally:
        daemon.close()
        node.close()


if __name__ == "__main__":
    main()
