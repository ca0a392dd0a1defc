"""One run of the emulated machine, within a deadline."""

from __future__ import annotations

import pathlib
import re
import subprocess
import threading
import time
from collections.abc import Callable

PROCESSORS, MEBIBYTES = 2, 2048
ENDED = re.compile(r"vm: ended with (\d+)$")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc|\r|[^\x09\x20-\x7e]")


class Machine:
    """qemu with two disks that it never changes, a console, and a file that takes what the machine gives out."""

    def __init__(self, kernel: pathlib.Path, initramfs: pathlib.Path, disks: list[pathlib.Path],
                 results: pathlib.Path, told: Callable[[str], None], mebibytes: int = MEBIBYTES) -> None:
        # The clock is the emulator's own: the TSC's pace is measured at boot, on a busy machine wrongly. One ran six
        # times too fast, and every deadline with it.
        # Emulated even where /dev/kvm is: inside a virtual machine that may hang, and one way is enough to keep.
        command = ["setpriv", "--pdeathsig", "KILL",  # whatever ends this process ends the machine
                   "qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp",
                   str(PROCESSORS), "-m", str(mebibytes), "-no-reboot", "-nodefaults", "-display", "none",
                   "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs), "-append",
                   "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable clocksource=acpi_pm "
                   "cgroup_no_v1=all",
                   "-device", "virtio-serial-pci", "-chardev", f"file,id=results,path={results}",
                   "-device", "virtserialport,chardev=results,name=results"]
        for disk in disks:
            command += ["-drive", f"file={disk},if=virtio,format=raw,snapshot=on,cache=unsafe"]
        self.lines: list[str] = []
        self.began = time.monotonic()
        self.booted: float | None = None
        self.code: int | None = None  # of pytest, or of the command that ran instead
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self.read, args=(told,), daemon=True)
        self.reader.start()

    def read(self, told: Callable[[str], None]) -> None:
        for raw in self.process.stdout:
            line = ESCAPES.sub("", raw.decode(errors="replace")).rstrip()
            if line.startswith("vm: up"):
                self.booted = time.monotonic() - self.began
            if ended := ENDED.search(line):
                self.code = int(ended[1])
            self.lines.append(line)
            told(line)

    def wait(self, deadline: float) -> bool:
        """Whether the machine went off by itself in time; after that it is gone either way."""
        try:
            self.process.wait(deadline)
            return self.process.returncode == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join(5)
