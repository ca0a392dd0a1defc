"""Files of Debian packages: from the running system where the package is installed, else downloaded and unpacked.

Nothing is installed, so that no service starts and nothing of the machine changes.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("SWIFTLET_SCRATCH") or REPOSITORY / ".build") / "debian"


def files(package: str) -> dict[str, pathlib.Path]:
    """Where each regular file or link of `package` is now, by its name in the package (`/usr/...`)."""
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True)
    status = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True).stdout
    if listed.returncode == 0 and status.startswith("installed"):
        paths = [line for line in listed.stdout.splitlines() if line.startswith("/")]
        return {path: pathlib.Path(path) for path in paths if not os.path.isdir(path) and os.path.lexists(path)}
    root = unpacked(package)
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = pathlib.Path(directory, name)
            found["/" + str(path.relative_to(root))] = path
    return found


def unpacked(package: str) -> pathlib.Path:
    """The package's tree below the cache, downloaded once."""
    target = CACHE / package
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        download(package, scratch)
        (archive,) = pathlib.Path(scratch).glob("*.deb")
        tree = pathlib.Path(scratch, "tree")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(tree)], check=True)
        try:
            tree.rename(target)
        except OSError:  # another run was first
            if not target.is_dir():
                raise
    return target


def download(package: str, directory: str) -> None:
    """`apt-get download`, with fresh package lists when the ones at hand know no such package."""
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    first = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if first.returncode == 0:
        return
    subprocess.run(["apt-get", "-qq", "update"], check=True)
    subprocess.run(command, cwd=directory, check=True)


def program(package: str, path: str) -> pathlib.Path:
    """One file of a package, wherever merged /usr puts it."""
    held = files(package)
    for candidate in (path, "/usr" + path, path.removeprefix("/usr")):
        if candidate in held:
            return held[candidate]
    raise FileNotFoundError(f"package {package} has no {path}")
