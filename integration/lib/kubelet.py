"""What a kubelet puts into the request of an ordinary container."""

from __future__ import annotations

import pathlib

from .stubs import pb

MASKED = ["/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
          "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
          "/sys/devices/virtual/powercap"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def masked() -> list[str]:
    """With the directories of this machine's processors, as kubelet lists them."""
    found = sorted(pathlib.Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle"))
    return MASKED + [str(path) for path in found]


def ordinary(**fields):
    """RuntimeDefault, default capabilities, masked and read-only paths; `fields` replaces parts of it."""
    return pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(**{
        "seccomp": pb.SecurityProfile(), "masked_paths": masked(), "readonly_paths": READONLY, **fields}))
