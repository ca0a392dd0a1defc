"""A tree on the host with known content, modes, owners, attributes and times. Any change to it, or anything new in it,
is an escape."""

from __future__ import annotations

import hashlib
import os
import pathlib
import secrets
import shutil
import socket
import stat


class Canary:
    """`/canary-<random>/{ro,rw,secret,sock,dev}` with random content."""

    def __init__(self) -> None:
        self.path = pathlib.Path("/canary-" + secrets.token_hex(4))
        self.secret = secrets.token_hex(16)
        for name in ("ro", "rw", "secret", "sock", "dev"):
            (self.path / name).mkdir(parents=True)
            (self.path / name / "file").write_text(f"{name} {self.secret}\n")
        (self.path / "ro" / "file").chmod(0o444)
        (self.path / "secret" / "file").chmod(0o600)
        for path in (self.path / "rw", self.path / "rw" / "file", self.path / "secret" / "file"):
            os.setxattr(path, "trusted.canary", self.secret.encode())
            os.utime(path, ns=(0, 1_000_000_000))
        os.chown(self.path / "secret" / "file", 0, 50)
        os.mknod(self.path / "dev" / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.path / "sock" / "listen"))
        self.server.listen()
        self.before = self.state()

    def state(self) -> dict[str, tuple]:
        found = {}
        for directory, directories, files in os.walk(self.path):
            for name in ["."] + directories + files:
                path = os.path.join(directory, name)
                info = os.lstat(path)
                content = b""
                if stat.S_ISREG(info.st_mode):
                    content = hashlib.sha256(pathlib.Path(path).read_bytes()).digest()
                attributes = tuple(sorted((key, os.getxattr(path, key, follow_symlinks=False))
                                          for key in os.listxattr(path, follow_symlinks=False)))
                found[path] = (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_rdev, info.st_mtime_ns,
                               info.st_ctime_ns, info.st_nlink, content, attributes)
        return found

    def check(self) -> None:
        after = self.state()
        changed = [path for path in self.before.keys() | after.keys() if self.before.get(path) != after.get(path)]
        assert not changed, f"escape: changed on the host: {sorted(changed)}"

    def remove(self) -> None:
        self.server.close()
        shutil.rmtree(self.path)
