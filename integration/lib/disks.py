"""Disks of a case's own below a daemon's root directory, and what happens to disks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import subprocess

from . import wait


@contextlib.contextmanager
def full(directory: pathlib.Path):
    """Not a byte of a file system is free."""
    paths = []
    for size in (1 << 20, 1 << 12):
        with contextlib.suppress(OSError):
            while True:
                paths.append(directory / f"filler-{len(paths)}")
                with open(paths[-1], "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, size)
    yield
    for path in paths:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def tmpfs(directory: pathlib.Path, size: str = "96m"):
    directory.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def give_back(path: pathlib.Path) -> None:
    """The space that was kept for a file to grow into (fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)."""
    page = os.sysconf("SC_PAGE_SIZE")
    start = -(-path.stat().st_size // page) * page
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "r+b") as file:
        length = ctypes.c_longlong((64 << 20) - start)
        assert libc.fallocate64(file.fileno(), 3, ctypes.c_longlong(start), length) == 0, ctypes.get_errno()


class Ext4:
    """A file system on a loop device, which turns itself read-only at its first error, as Debian has it."""

    def __init__(self, directory: pathlib.Path, image: pathlib.Path, megabytes: int = 96):
        self.directory, self.image = directory, image
        directory.mkdir(mode=0o700, exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        self.mount()
        directory.chmod(0o700)

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.directory)], check=True)

    def fail(self) -> None:
        """An error is found (Documentation/ABI/testing/sysfs-fs-ext4), some seconds after the last change: what is not
        on the disk by then is lost."""
        subprocess.run(["sync", "-f", str(self.directory)], check=True)
        device = os.stat(self.directory).st_dev
        name = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        pathlib.Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("a case's\n")

    def repair(self) -> None:
        """As a start of the node does it. Nobody uses it."""
        self.unmount()
        # Another mount namespace may have a copy of the mount a little longer.
        used = ["losetup", "-j", str(self.image)]
        wait.until(lambda: not subprocess.check_output(used), "end of the disk's last use")
        found = subprocess.run(["e2fsck", "-f", "-y", str(self.image)], capture_output=True, text=True)
        assert found.returncode in (0, 1), found.stdout
        self.mount()

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.directory)], check=True)

    def close(self) -> None:
        self.unmount()
        self.image.unlink()
