"""The daemon's stage timings out of its log: each call ends with `..., name 1.2 ms, ..., in all 4.2 ms`."""

from __future__ import annotations

import collections
import re
import statistics

CALLS = ("RunPodSandbox", "CreateContainer", "StartContainer", "PullImage")
STAGE = re.compile(r"([a-z][a-z ,]*?) (\d+(?:\.\d+)?) (ms|s)(?=,|$|[\"' ])")


def medians(log: str) -> list[str]:
    """A line for each call: the median of its total and of each stage, in the order of the stages."""
    found: dict[str, dict[str, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in log.splitlines():
        call = next((name for name in CALLS if name in line), None)
        if call is None or "in all" not in line:
            continue
        for name, number, unit in STAGE.findall(line):
            found[call][name].append(float(number) * (1000 if unit == "s" else 1))
    lines = []
    for call in CALLS:
        parts = {name: statistics.median(values) for name, values in found[call].items()}
        if parts:
            total = parts.pop("in all", 0)
            inner = ", ".join(f"{name} {value:.1f}" for name, value in parts.items() if value >= 0.1)
            lines.append(f"- {call} {total:.1f}: {inner}")
    return lines
