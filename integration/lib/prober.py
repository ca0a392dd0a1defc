"""H5: the prober's report of a process in a container, and its form in which two machines agree."""

from __future__ import annotations

import json
import os
import pathlib
import re

from . import binaries, kubelet, trace

READS = [*kubelet.MASKED, "/sys/devices/system/cpu/cpu0/thermal_throttle", "/proc/sys/kernel/core_pattern",
         "/proc/1/environ", "/sys/kernel/security", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf"]
COMMAND = ["/prober", *READS]


def mount():
    """The program at /prober, from the node."""
    return binaries.mount("/prober", "prober.c", "-static")


def by_create(pod, **more) -> dict:
    """The report of a container's first process."""
    return json.loads(pod.output(COMMAND, mounts=[mount(), *more.pop("mounts", [])], **more))


def by_exec(container) -> dict:
    """The report of a further process."""
    answer = container.execute(*COMMAND)
    assert answer.exit_code == 0 and not answer.stderr, answer
    return json.loads(answer.stdout)


def process_facts(pid: int, name: str) -> str:
    """A field of /proc/PID/status."""
    return re.search(rf"^{name}:\s*(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M).group(1)


def limits(pid: int) -> list[str]:
    """Soft and hard limits of a process in the kernel's order, as the prober writes them."""
    rows = pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    found = [re.search(r"\s{2,}(\S+)\s+(\S+)", row).groups() for row in rows]
    return [" ".join("-1" if value == "unlimited" else value for value in pair) for pair in found]


def normalised(report: dict, pod, daemon) -> dict:
    """Without what differs between two machines, two kernels or two runs."""
    pause = pod.info()["pid"]
    shim = trace.shim_of(pod)
    status = dict(report["status"])
    filters = int(status.pop("Seccomp_filters")) - int(process_facts(daemon.pid, "Seccomp_filters"))
    processors = status.pop("Cpus_allowed_list") == process_facts(shim, "Cpus_allowed_list")
    ours = dict(zip(report["limits"], limits(shim)))
    return {
        "status": {**status, "seccomp filters of its own": filters,
                   "processors": "the shim's" if processors else "other"},
        "descriptors": {fd: re.sub(r":\[\d+\]", "", target) for fd, target in report["descriptors"].items()},
        "open flags": report["open flags"],
        "mounts": mounts(report["mounts"]),
        "cgroup": cgroups(report["cgroup"]),
        "namespaces": {kind: owner(kind, value, pause) for kind, value in report["namespaces"].items()},
        "limits": {name: limit(value, ours[name]) for name, value in report["limits"].items()},
        "process": {**report["process"], "nice": report["process"]["nice"] - os.getpriority(os.PRIO_PROCESS, shim)},
        "reads": {path: "nothing" if how in ("ENOENT", "empty", "empty directory") else how
                  for path, how in report["reads"].items() if "thermal_throttle" not in path or how != "directory"},
        "writes": {path: how if how == "ok" else "refused" for path, how in report["writes"].items()},
        "calls": report["calls"],
    }


def limit(value: str, shims: str) -> str:
    soft, hard = value.split()
    return "the shim's" if value == shims else f"{soft}, hard the shim's" if hard == shims.split()[1] else value


def owner(kind: str, value: str, pause: int) -> str:
    if value == os.readlink(f"/proc/{pause}/ns/{kind}") and kind != "user":
        return "the pod's" if value != os.readlink(f"/proc/self/ns/{kind}") else "the node's"
    return "the node's" if value == os.readlink(f"/proc/self/ns/{kind}") else "its own"


def mounts(lines: list[str]) -> list[str]:
    """Place, root, flags, propagation and kind of each; those over parts of /proc and /sys are in `covered`."""
    found = []
    for line in lines:
        left, right = line.split(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        place, root, flags, optional = fields[4], fields[3], fields[5], fields[6:]
        if place.startswith(("/proc/", "/sys/")) or place == "/prober":
            continue
        if place.startswith("/etc/"):
            root, kind = f".../{os.path.basename(root)}", "file"
        size = [option for option in options.split(",") if re.match(r"(mode|size|gid|ptmxmode)=", option)]
        shared = sorted(re.sub(r":\d+", "", word) for word in optional)
        found.append(" ".join([place, kind, root, flags.replace(",relatime", ""), *sorted(size), *shared]))
    return sorted(found)


def covered(lines: list[str]) -> dict[str, tuple[str, set[str]]]:
    """Kind and flags of the mounts below /proc and /sys, by place; the last one counts."""
    found = {}
    for line in lines:
        left, right = line.split(" - ")
        fields = left.split()
        if fields[4].startswith(("/proc/", "/sys/")):
            found[fields[4]] = (right.split()[0], set(fields[5].split(",")))
    return found


def cgroups(lines: list[str]) -> list[str]:
    """The v2 line; of v1 controllers only that their groups are the container's."""
    found = set()
    for line in lines:
        number, controllers, path = line.split(":", 2)
        path = re.sub(r"/exec-\d+$", "", path) or "/"
        found.add(f"{'v2' if number == '0' else 'v1'} {re.sub(r'^.*/[0-9a-f]{64}$', 'CONTAINER', path)}")
    return sorted(found - {"v1 /"} - {"v1 CONTAINER"})


def differences(golden, found, path: str = "") -> list[str]:
    """Where a report is not what the golden file says; a text there may hold alternatives: `EBADF or ENOSYS`."""
    if isinstance(golden, dict) and isinstance(found, dict):
        return [line for key in sorted(golden.keys() | found.keys())
                for line in differences(golden.get(key), found.get(key), f"{path}/{key}")]
    if isinstance(golden, str) and str(found) in golden.split(" or "):
        return []
    return [] if golden == found else [f"{path}: expected {golden!r}, found {found!r}"]
