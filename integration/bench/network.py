"""The pod network alone, beside Debian's CNI chain in the same run: `network-bench`'s times and the plugins'."""

from __future__ import annotations

import json
import os
import statistics
import subprocess

from bench import cni
from lib.daemon import binaries
from lib.netns import Namespace
from lib.stubs import REPOSITORY

CROWD = 500
COLUMNS = ["swiftlet", "with pool", "swiftlet, 1 port", "CNI, IPv4", "CNI, both", "CNI, both, 1 port"]
# The figures, p50: of an attach alone and at many, and of what else has one.
GOALS = {"attach": (2.5, 0.6), "attach at 500": (4, 1), "detach": (0.5, 0.5), "detach at 500": (0.5, 0.5),
         "start beside 500": (120, 120)}


def ours(*arguments: str) -> dict[str, list[float]]:
    """One run of network-bench in a namespace of its own."""
    space = Namespace()
    try:
        # Its sysctl writes and its rules stay in that namespace.
        command = space.command(str(binaries() / "network-bench"), *arguments)
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        space.close()
    if done.returncode:
        raise RuntimeError(f"network-bench {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def theirs(few: int, crowd: int, families: tuple[int, ...], ports: bool = False) -> dict[str, list[float]]:
    chain = cni.Chain(families)
    try:
        return chain.measure(few, crowd, ports)
    finally:
        chain.close()


def measure(few: int, crowd: int, cni_few: int, cni_crowd: int) -> dict[str, dict[str, list[float]]]:
    """All columns, one after the other on the same machine."""
    size = ["--few", str(few), "--pods", str(crowd)]
    return {
        "swiftlet": ours(*size), "with pool": ours(*size, "--pool", "8"), "swiftlet, 1 port": ours(*size, "--ports"),
        "CNI, IPv4": theirs(cni_few, cni_crowd, (4,)), "CNI, both": theirs(cni_few, 0, (4, 6)),
        "CNI, both, 1 port": theirs(cni_few, 0, (4, 6), True),
    }


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def table(found: dict[str, dict[str, list[float]]], crowd: int) -> list[str]:
    columns = [name for name in COLUMNS if name in found]
    lines = ["| p50 / p99, ms | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]

    def row(title: str, cell) -> None:
        cells = [cell(found[name]) for name in columns]
        if any(text != "-" for text in cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")

    def times(key: str):
        def cell(column: dict[str, list[float]]) -> str:
            values = column.get(key)
            return f"{number(statistics.median(values))} / {number(percentile(values, 0.99))}" if values else "-"
        return cell

    for key in ("attach", f"attach at {crowd}", "detach", f"detach at {crowd}", f"start beside {crowd}"):
        row(key, times(key))
    row(f"{crowd} pods up, pods per second", lambda column: (
        number(crowd / sum(column[f"{crowd} pods up"]) * 1000) if f"{crowd} pods up" in column else "-"))
    return lines


def steps(found: dict[str, dict[str, list[float]]], crowd: int) -> list[str]:
    """Where the time of our attach goes: medians of its steps."""
    lines = []
    for column in ("swiftlet", "with pool"):
        for key in ("attach", f"attach at {crowd}"):
            parts = {name.split(": ")[1]: statistics.median(values) for name, values in found.get(column, {}).items()
                     if name.startswith(key + ": ")}
            if parts:
                inner = ", ".join(f"{name} {value:.2f}" for name, value in parts.items())
                lines.append(f"- {column}, {key}: {inner}")
    return lines


def missed(found: dict[str, dict[str, list[float]]], crowd: int) -> list[str]:
    """Which of the issue's figures this run did not reach."""
    lines = []
    for key, goals in GOALS.items():
        for column, goal in zip(("swiftlet", "with pool"), goals):
            values = found.get(column, {}).get(key)
            if values and statistics.median(values) > goal:
                lines.append(f"- {column}: {key} {number(statistics.median(values))} ms, wanted {goal}")
    up = found["swiftlet"][f"{crowd} pods up"][0]
    if crowd / up * 1000 < 200:
        lines.append(f"- swiftlet: {crowd / up * 1000:.0f} pods a second, wanted 200")
    return lines


def report(found: dict[str, dict[str, list[float]]], crowd: int) -> str:
    title = (f"The pod network alone; CNI is Debian's containernetworking-plugins {cni.version()} (loopback, bridge, "
             f"host-local, portmap), load {os.getloadavg()[0]:.1f}:")
    lines = [title, "", *table(found, crowd), "", *steps(found, crowd)]
    behind = missed(found, crowd)
    return "\n".join(lines + (["", "Figures not reached:", "", *behind] if behind else []))


def main() -> None:
    """This part alone: python -m bench.network."""
    found = measure(few=200, crowd=CROWD, cni_few=40, cni_crowd=CROWD)
    print("\n" + report(found, CROWD))
    target = REPOSITORY / ".build"
    target.mkdir(exist_ok=True)
    (target / "bench-network.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
