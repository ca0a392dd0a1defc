"""The daemon's stage timings out of its log: `stages=name 1.2 ms, ..., in all 4.2 ms`, and what the line is about."""

from __future__ import annotations

import collections
import re
import statistics

CALLS = {"sandbox is ready": "RunPodSandbox", "container is created": "CreateContainer",
         "container is running": "StartContainer"}
STAGE = re.compile(r"([a-z][a-z ,]*?) (\d+(?:\.\d+)?) (ms|s)(?=,|$|[\"' ])")


def medians(log: str) -> list[str]:
    """A line for each call: the median of its total and of each stage, in the order of the stages."""
    found: dict[str, dict[str, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in log.splitlines():
        call = next((call for text, call in CALLS.items() if text in line), None)
        if call is None or "stages=" not in line:
            continue
        for name, number, unit in STAGE.findall(line.partition("stages=")[2]):
            found[call][name].append(float(number) * (1000 if unit == "s" else 1))
    lines = []
    for call in CALLS.values():
        parts = {name: statistics.median(values) for name, values in found[call].items()}
        if parts:
            total = parts.pop("in all", 0)
            inner = ", ".join(f"{name} {value:.1f}" for name, value in parts.items() if value >= 0.1)
            lines.append(f"- {call} {total:.1f}: {inner}")
    return lines
