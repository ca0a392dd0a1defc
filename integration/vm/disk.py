"""The machine's two disks: a small Debian made of this machine's packages, and our programs with their tests."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from lib import binaries as attacks
from lib import debian, stubs
from lib.daemon import binaries

from .kernel import BUILD, Kernel

# What the cases run; libraries come by what these and the venv link with.
PACKAGES = """base-files bash conntrack coreutils dpkg findutils grep iproute2 kmod libpython3-stdlib
libpython3.11-minimal libpython3.11-stdlib mount netbase nftables procps protobuf-compiler python3-minimal
python3.11-minimal sed util-linux""".split()
ACCOUNTS = ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf"]
MERGED = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
DIRECTORIES = ["dev", "proc", "sys", "run", "root", "tmp", "var/tmp", "var/lib/dpkg", "etc", "swiftlet"]
UNWANTED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/lintian/")
REPOSITORY = debian.REPOSITORY
BOOT = pathlib.Path(__file__).parent / "guest" / "boot"
VENV = REPOSITORY / ".venv"
PROGRAMS = ["swiftletd", "swiftlet", "swiftlet-shim", "swiftlet-pause"]
KINDS = ["-m32", "-mx32", "-DINT80"]  # of L28's program
SPACE = 3 << 30  # of the system's disk, as the machine sees it; the file has holes
LOADER = "/lib64/ld-linux-x86-64.so.2"


def system(kernel: Kernel, more: list[str]) -> pathlib.Path:
    """The root disk, with further packages. Kept, for it changes only with packages, kernel and venv; nobody writes
    into it."""
    versions = subprocess.run(["dpkg-query", "-W"], capture_output=True, text=True, check=True).stdout
    state = hashlib.sha256()
    linked = libraries([binaries() / name for name in PROGRAMS])
    for part in (kernel.version, versions, " ".join([*sorted(map(str, linked)), *more]), *map(pathlib.Path.read_text, (
            pathlib.Path(__file__), BOOT, REPOSITORY / "integration" / "requirements.txt"))):
        state.update(part.encode() + b"\0")
    target = BUILD / f"system-{state.hexdigest()[:12]}.ext4"
    if not target.exists():
        for old in BUILD.glob("system-*.ext4"):
            old.unlink()
        with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
            tree = pathlib.Path(scratch, "tree")
            fill(tree, kernel, linked, more)
            make(pathlib.Path(scratch, "image"), tree, SPACE)
            pathlib.Path(scratch, "image").rename(target)
    return target


def fill(tree: pathlib.Path, kernel: Kernel, linked: set[pathlib.Path], more: list[str]) -> None:
    for name in DIRECTORIES:
        (tree / name).mkdir(parents=True)
    for name in MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    wanted = {path: source for package in PACKAGES + more for path, source in debian.files(package).items()}
    wanted |= {path: pathlib.Path(path) for path in ACCOUNTS}
    for path, source in wanted.items():
        if not path.startswith(UNWANTED):
            copy(source, tree, path)
    shutil.copytree(VENV, tree / "venv", symlinks=True)
    shutil.copytree(kernel.modules, tree / "usr/lib/modules" / kernel.version, symlinks=True)
    (tree / "usr/bin/sh").symlink_to("bash")
    (tree / "var/lib/dpkg/status").touch()
    (tree / "usr/sbin/init").unlink(missing_ok=True)
    shutil.copy(BOOT, tree / "usr/sbin/init")
    (tree / "usr/sbin/init").chmod(0o755)
    copied = [tree / path.lstrip("/") for path in wanted] + list((tree / "venv").rglob("*.so"))
    for library in linked | libraries([path for path in copied if is_program(path)]):
        if not (tree / str(library).lstrip("/")).exists():
            copy(library.resolve(), tree, str(library))


def copy(source: pathlib.Path, tree: pathlib.Path, path: str) -> None:
    target = tree / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        shutil.copy2(source, target, follow_symlinks=False)


def is_program(path: pathlib.Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries(programs: list[pathlib.Path]) -> set[pathlib.Path]:
    """Where the loader finds all that these link with, and the loader itself."""
    lines = subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout.splitlines()
    found = {line.split(" => ")[1].split(" (")[0].strip() for line in lines if " => /" in line}
    return {pathlib.Path(path) for path in found} | {pathlib.Path(LOADER)}


def swiftlet(target: pathlib.Path, command: list[str], files: list[pathlib.Path]) -> None:
    """Writes a disk with our programs, the cases with what these read, the command to run, and files for it."""
    generated = stubs.generate()
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        tree = pathlib.Path(scratch)
        (tree / "bin").mkdir()
        for name in PROGRAMS:
            subprocess.run(["strip", "-g", "-o", tree / "bin" / name, binaries() / name], check=True)
        without = shutil.ignore_patterns("generated", "__pycache__", "bench", "demo")
        shutil.copytree(REPOSITORY / "integration", tree / "integration", ignore=without)
        shutil.copytree(generated, tree / "integration/generated" / generated.name)
        shutil.copytree(REPOSITORY / "proto", tree / "proto")
        (tree / "command").write_text("".join(f"{word}\0" for word in command))
        (tree / "with").mkdir()
        for file in files:
            subprocess.run(["cp", "-a", file.resolve(), tree / "with" / file.name], check=True)
        made = tree / ".build/programs"
        made.mkdir(parents=True)
        for program in [("prober.c", "-static"), *(("i386.c", *attacks.ALONE, kind) for kind in KINDS)]:
            (made / attacks.name(*program)).write_bytes(attacks.compiled(*program))
        packages = tree / ".build/debian"  # what debian.py would have to download
        shutil.copytree(debian.unpacked("busybox-static"), packages / "busybox-static", symlinks=True)
        make(target, tree, 1 << 30)


def make(image: pathlib.Path, tree: pathlib.Path, size: int) -> None:
    """An ext4 with the tree's content, owned as there, without mounting anything."""
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0,lazy_itable_init=1", "-d", tree, image,
                    str(size >> 10)], check=True, stdout=subprocess.DEVNULL)
