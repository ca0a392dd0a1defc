"""H2, the second look: what of the node itself has changed since a moment, wherever a daemon that is root could have
been made to write. Anything is an escape, or somebody else's work on the same machine."""

from __future__ import annotations

import os
import subprocess
import tempfile

from .stubs import REPOSITORY

PLACES = ["/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/root", "/opt", "/srv", "/home", str(REPOSITORY)]
# What running the tests themselves writes to.
OWN = [f"{REPOSITORY}/{name}" for name in (".build", ".git", ".venv", ".scratch", "integration/generated")]
OWN += [path for path in (os.environ.get("SWIFTLET_SCRATCH"), os.environ.get("SWIFTLET_RESULTS")) if path]
CACHES = ["*/__pycache__", "/root/.cache", "/home/*/.cache"]


class Host:
    """The node from now on."""

    def __init__(self) -> None:
        self.stamp = tempfile.NamedTemporaryFile(prefix="sw-stamp-")
        self.top = set(os.listdir("/"))

    def changes(self) -> list[str]:
        """Files by their ctime, which nobody can set back: content, mode, owner, attributes, names; and what is new in
        the root directory beside canaries."""
        left_out: list[str] = []
        for path in OWN + CACHES:
            left_out += ["-o", "-path", path]
        found = subprocess.run(
            ["find", *(path for path in PLACES if os.path.isdir(path)), "-xdev", "(", *left_out[1:], ")", "-prune",
             "-o", "-newercm", self.stamp.name, "-print"], capture_output=True, text=True, check=False)
        names = {f"/{name}" for name in self.top ^ set(os.listdir("/")) if not name.startswith("canary-")}
        return sorted(names | set(found.stdout.splitlines()))

    def close(self) -> None:
        self.stamp.close()
