"""The client `swiftlet` as a user runs it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess


class Swiftlet:
    """The client with its environment set for one daemon."""

    def __init__(self, program: pathlib.Path, daemon, directory: pathlib.Path):
        self.program, self.directory, self.node = program, directory, daemon.node
        self.environment = {**os.environ, "SWIFTLET_SOCKET": str(daemon.socket)}
        self.environment.pop("CONTAINER_RUNTIME_ENDPOINT", None)

    def run(self, *arguments: str, **more) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120,
                              env=self.environment, **more)

    def command(self, *arguments: str) -> list[str]:
        """On the node, where the daemon's streaming server listens."""
        return self.node.inside.command(str(self.program), *arguments)

    def __call__(self, *arguments: str, **more) -> str:
        done = self.run(*arguments, **more)
        assert done.returncode == 0, f"swiftlet {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str):
        return json.loads(self(*arguments, "-o", "json"))

    def refused(self, code: int, *arguments: str, **more) -> str:
        done = self.run(*arguments, **more)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.stderr.lower().startswith("error:"), done.stderr
        return done.stderr

    def play(self, text: str, *more: str) -> str:
        path = self.directory / "pod.yaml"
        path.write_text(text)
        return self("play", str(path), "--log-root", str(self.directory / "logs"), "--volume-root",
                    str(self.directory / "volumes"), *more)
