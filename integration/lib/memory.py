"""How much memory a process has ever had since a moment: peaks that nobody looks at do not count as flat."""

from __future__ import annotations

import pathlib

KIB, MIB = 1 << 10, 1 << 20


class Peak:
    """Of a process from now on (proc_pid_clear_refs(5): 5 makes VmHWM begin anew)."""

    def __init__(self, pid: int) -> None:
        self.folder = pathlib.Path(f"/proc/{pid}")
        (self.folder / "clear_refs").write_text("5")
        self.before = self._field("VmRSS")

    def grown(self) -> int:
        """Bytes of the peak above where it began."""
        return self._field("VmHWM") - self.before

    def _field(self, name: str) -> int:
        text = (self.folder / "status").read_text()
        return int(text.split(name + ":")[1].split()[0]) * KIB
