"""CRI log files, read strictly: a record that breaks the format fails the case."""

from __future__ import annotations

import contextlib
import dataclasses
import re

from . import wait

RECORD = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) (P|F) (.*)", re.DOTALL)


@dataclasses.dataclass
class Record:
    time: str
    stream: str
    full: bool
    content: bytes


def parse(data: bytes) -> list[Record]:
    assert whole(data), f"last record is cut off: {data[-80:]!r}"
    records = []
    for line in data.split(b"\n")[:-1]:
        match = RECORD.fullmatch(line)
        assert match, f"not a log record: {line[:120]!r}"
        time, stream, tag, content = match.groups()
        records.append(Record(time.decode(), stream.decode(), tag == b"F", content))
    return records


def read(path: str) -> list[Record]:
    """Of a writer at work, too: a record is one write, but what lies in two pages of the file is seen in two steps."""
    def bytes_now() -> bytes:
        with open(path, "rb") as file:
            return file.read()

    seen = [bytes_now()]
    if not whole(seen[-1]):
        with contextlib.suppress(AssertionError):  # `parse` tells it
            wait.until(lambda: seen.append(bytes_now()) or whole(seen[-1]), "the rest of a record", 5)
    return parse(seen[-1])


def whole(data: bytes) -> bool:
    return not data or data.endswith(b"\n")


def content(records: list[Record], stream: str | None = None) -> bytes:
    """The bytes the program wrote, put together again."""
    chosen = [record for record in records if stream in (None, record.stream)]
    return b"".join(record.content + (b"\n" if record.full else b"") for record in chosen)


def text(path: str, stream: str | None = None) -> str:
    return content(read(path), stream).decode(errors="replace")
