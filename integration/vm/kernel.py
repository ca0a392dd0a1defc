"""Debian's cloud kernel, unpacked and never installed, and the initramfs that finds the root disk for it."""

from __future__ import annotations

import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile

from lib import debian

METAPACKAGE = "linux-image-cloud-amd64"
BUILD = debian.CACHE.parent / "vm"
INIT = pathlib.Path(__file__).parent / "guest" / "initramfs"
# What stands between the kernel and its disk; ext4 is built in.
MODULES = ["virtio_pci", "virtio_blk"]


class Kernel:
    """The newest one that the configured archives have."""

    def __init__(self) -> None:
        self.package = newest()
        self.version = self.package.removeprefix("linux-image-")
        self.tree = debian.unpacked(self.package)
        self.image = self.tree / "boot" / f"vmlinuz-{self.version}"
        self.modules = self.tree / "lib" / "modules" / self.version
        if not (self.modules / "modules.dep").exists():
            subprocess.run(["/sbin/depmod", "-b", self.tree, self.version], check=True)

    def initramfs(self) -> pathlib.Path:
        """The archive, made once for a kernel and an init."""
        state = hashlib.sha256(INIT.read_bytes() + " ".join(MODULES).encode()).hexdigest()[:12]
        target = BUILD / f"initramfs-{self.version}-{state}"
        if target.exists():
            return target
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
            tree = pathlib.Path(scratch, "tree")
            for name in ("bin", "dev", "modules", "root"):
                (tree / name).mkdir(parents=True)
            shutil.copy(debian.unpacked("busybox-static") / "bin" / "busybox", tree / "bin" / "busybox")
            shutil.copy(INIT, tree / "init")
            (tree / "init").chmod(0o755)
            for number, module in enumerate(self.closure()):
                shutil.copy(module, tree / "modules" / f"{number:02}-{module.name}")
            names = "\n".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))) + "\n"
            archive = subprocess.run(["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"],
                                     cwd=tree, input=names.encode(), capture_output=True, check=True).stdout
            (tree.parent / "archive").write_bytes(archive)
            (tree.parent / "archive").rename(target)
        return target

    def closure(self) -> list[pathlib.Path]:
        """The files of `MODULES` and of what they need, in the order in which they load."""
        found: list[pathlib.Path] = []
        for name in MODULES:
            lines = subprocess.run(
                ["/sbin/modprobe", "-d", self.tree, "-S", self.version, "--show-depends", "--ignore-install", name],
                capture_output=True, text=True, check=True).stdout
            for path in map(pathlib.Path, re.findall(r"(?m)^insmod (\S+)", lines)):
                if path not in found:
                    found.append(path)
        return found


def newest() -> str:
    """The package that the metapackage depends on."""
    def asked() -> list[str]:
        text = subprocess.run(["apt-cache", "depends", METAPACKAGE], capture_output=True, text=True).stdout
        return re.findall(r"Depends: (linux-image-\S+)", text)

    found = asked()
    if not found:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        found = asked()
    if not found:
        raise RuntimeError(f"the package archives have no {METAPACKAGE}")
    return found[0]
