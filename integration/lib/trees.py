"""Looking through trees in which others make and remove: pathlib's rglob fails over a directory that goes meanwhile."""

from __future__ import annotations

import fnmatch
import os
import pathlib


def below(top: pathlib.Path, pattern: str = "*") -> list[pathlib.Path]:
    """All below `top` whose name matches, but what is gone by then."""
    return [pathlib.Path(directory, name) for directory, directories, files in os.walk(top)
            for name in directories + files if fnmatch.fnmatchcase(name, pattern)]
