"""What a daemon could leave behind, counted before and after a case: the two must be equal.

A machine that others use at the same time (SWIFTLET_SHARED_HOST=1) is counted only where an object carries our mark.
SWIFTLET_CENSUS_NETWORK=0 leaves the node's network out, which takes nine programs each time.
"""

from __future__ import annotations

import collections
import os
import pathlib
import re
import signal
import time
from collections.abc import Callable

from . import wait
from .daemon import Daemon, command_line

SHARED = os.environ.get("SWIFTLET_SHARED_HOST") == "1"
NETWORK = os.environ.get("SWIFTLET_CENSUS_NETWORK") != "0"
CGROUPS = pathlib.Path("/sys/fs/cgroup")
REGISTRY_PORTS = (5000, 5001)
COUNT_WORDS = re.compile(r"\d+")
DEADLINE = float(os.environ.get("SWIFTLET_CENSUS_DEADLINE", 60)) * wait.PATIENCE
Snapshot = dict[str, collections.Counter]


class Census:
    """The census of one daemon and of the host it runs on."""

    def __init__(self, daemon: Daemon):
        self.daemon = daemon
        self.mark = str(daemon.base)
        self.parent = daemon.base.name  # also the name of its pods' cgroup parent

    def take(self) -> Snapshot:
        sections = {
            "mounts": self.mounts(), "host links": self.host_links(), "cgroups": self.cgroups(),
            "processes": self.processes(), "network namespaces": self.namespaces(),
            "descriptors": self.descriptors(), "files": self.files(), **(self.node() if NETWORK else {}),
        }
        return {name: collections.Counter(found) for name, found in sections.items()}

    def take_host(self) -> Snapshot:
        """All but the daemon's own descriptors, for a case after which it is another process."""
        return {name: found for name, found in self.take().items() if name != "descriptors"}

    def settled(self, before: Snapshot, deadline: float = DEADLINE) -> None:
        """AssertionError naming every difference that is still there at the deadline."""
        end, pause = time.monotonic() + deadline, 0.02
        while found := difference(before, self.take()):
            if time.monotonic() > end:
                raise AssertionError("the host is not as it was:\n" + "\n".join(found))
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    # the host

    def mounts(self) -> list[str]:
        found = []
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            left, right = line.split(" - ")
            text = " ".join(left.split()[3:6] + right.split())
            if not SHARED or self.mark in text:
                found.append(text)
        return found

    def host_links(self) -> list[str]:
        names = os.listdir("/sys/class/net")
        return [name for name in names if not SHARED or name == self.daemon.network["bridge"]]

    def cgroups(self) -> list[str]:
        """Groups below our pods' parent, and unless the host is shared below the daemon's default parent."""
        parents = [self.parent] if SHARED else [self.parent, "swiftlet"]
        found = []
        for controller in controllers():
            for parent in parents:
                for directory, names, _ in os.walk(controller / parent):
                    found += [os.path.join(directory, name) for name in names]
        return found

    def processes(self) -> list[str]:
        """Ours by command line, cgroup or parent, but for the daemon itself. Zombies count where one of us is to reap
        them; those of a daemon that was killed are for the machine's first process."""
        # Running, asleep or waiting for a disk: what it happens to do at this moment.
        return [f"{name} {'S' if state in 'RSD' else state} {pid}" for pid, name, state in self.owned()]

    def owned(self) -> list[tuple[int, str, str]]:
        found, parents = [], {}
        daemon = self.daemon.pid if self.daemon.alive else -1  # a dead one's number may be somebody else's
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            try:
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
                groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
            except OSError:
                continue
            name = stat[stat.index("(") + 1:stat.rindex(")")]
            state, parent = stat[stat.rindex(")") + 2:].split()[:2]
            words = command_line(pid)
            program = os.path.basename(words[0]) if words else ""
            ours = f":/{self.parent}/" in groups or int(parent) == daemon or (
                program in ("swiftlet-shim", "swiftletd") and self.mark in " ".join(words))
            if ours and pid != daemon:
                found.append((pid, name, state))
                parents[pid] = int(parent)
        reapers = {daemon} | {pid for pid, _, state in found if state != "Z"}
        return [(pid, name, state) for pid, name, state in found if state != "Z" or parents[pid] in reapers]

    def namespaces(self) -> list[str]:
        """Network namespaces that our processes are in, or hold open."""
        found = set()
        pids = [pid for pid, _, _ in self.owned()] + ([self.daemon.pid] if self.daemon.alive else [])
        if not SHARED:
            pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        for pid in pids:
            links = [f"/proc/{pid}/ns/net"]
            try:
                links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
            except OSError:
                pass
            found |= {target for target in map(read_link, links) if target.startswith("net:[")}
        if not SHARED and os.path.isdir("/run/netns"):
            found |= {"/run/netns/" + name for name in os.listdir("/run/netns")}
        return list(found)

    # the daemon

    def descriptors(self) -> list[str]:
        """The daemon's open files by kind: numbers in names (inodes, pids) do not count."""
        if not self.daemon.alive:
            return []
        directory = f"/proc/{self.daemon.pid}/fd"
        links = [read_link(f"{directory}/{fd}") for fd in os.listdir(directory)]
        kept = self.idle_connections()
        return [COUNT_WORDS.sub("N", link) for link in links if link and link not in kept]

    def idle_connections(self) -> set[str]:
        """Connections to the test's registries: the daemon may keep those for the next pull, for a minute."""
        found = set()
        for line in pathlib.Path(f"/proc/{self.daemon.pid}/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if int(words[2].split(":")[1], 16) in REGISTRY_PORTS:
                found.add(f"socket:[{words[9]}]")
        return found

    def files(self) -> list[str]:
        found = []
        for top in (self.daemon.root, self.daemon.state):
            for directory, directories, files in os.walk(top):
                found += [os.path.join(directory, name) for name in directories + files]
        return found

    # the node's network

    def node(self) -> dict[str, list[str]]:
        space = self.daemon.node.inside
        return {
            "node links": list(space.links()),
            "node addresses": [f"{link['ifname']} {address['local']}" for link in space.json("ip", "-j", "address")
                               for address in link.get("addr_info", [])],
            "node routes": lines(re.sub(" linkdown| dead", "", space.run("ip", "route", "show", "table", "all")
                                        + space.run("ip", "-6", "route", "show", "table", "all"))),
            "node neighbours": lines(space.run("ip", "neighbour", "show", "nud", "permanent")),
            "node forwarding entries": lines(space.run("bridge", "fdb", "show")),
            "node nftables": lines(re.sub(r"(?m) # handle \d+|packets \d+ bytes \d+", "",
                                          space.run("nft", "list", "ruleset"))),
        }

    # putting an end to what is left, after the last case

    def sweep(self) -> None:
        """Kills what is ours and removes our cgroups: a failed case shall not disturb the next run."""
        def ended() -> bool:
            left = [pid for pid, _, state in self.owned() if state != "Z"]
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not left

        wait.until(ended, "end of left processes")
        for controller in controllers():
            below = [directory for directory, _, _ in os.walk(controller / self.parent, topdown=False)]
            for directory in below + ([] if SHARED else [controller / "swiftlet"]):  # that one only when it is empty
                try:
                    os.rmdir(directory)
                except OSError:
                    pass


def steady(count: Callable[[], dict[str, int]]) -> dict[str, int]:
    """What is counted the same three times in a row: something that was under way is no measure for what is left."""
    seen = [count()]
    wait.until(lambda: seen.append(count()) or len(seen) > 2 and seen[-1] == seen[-2] == seen[-3], "a steady count")
    return seen[-1]


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    found = []
    for name in before:
        found += [f"  {name}: + {item}" for item in (after[name] - before[name]).elements()]
        # The daemon may close what an earlier case left it to close, such as that one's connection.
        if name != "descriptors":
            found += [f"  {name}: - {item}" for item in (before[name] - after[name]).elements()]
    return found


def controllers() -> list[pathlib.Path]:
    """Every cgroup hierarchy's mount: the v1 ones, or the one of v2."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [CGROUPS / name for name in sorted(os.listdir(CGROUPS)) if not (CGROUPS / name).is_symlink()]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
