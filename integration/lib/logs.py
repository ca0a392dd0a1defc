"""CRI log files, read strictly: a record that breaks the format fails the case."""

from __future__ import annotations

import dataclasses
import re

RECORD = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) (P|F) (.*)", re.DOTALL)


@dataclasses.dataclass
class Record:
    time: str
    stream: str
    full: bool
    content: bytes


def parse(data: bytes) -> list[Record]:
    assert not data or data.endswith(b"\n"), f"last record is cut off: {data[-80:]!r}"
    records = []
    for line in data.split(b"\n")[:-1]:
        match = RECORD.fullmatch(line)
        assert match, f"not a log record: {line[:120]!r}"
        time, stream, tag, content = match.groups()
        records.append(Record(time.decode(), stream.decode(), tag == b"F", content))
    return records


def read(path: str) -> list[Record]:
    with open(path, "rb") as file:
        return parse(file.read())


def content(records: list[Record], stream: str | None = None) -> bytes:
    """The bytes the program wrote, put together again."""
    chosen = [record for record in records if stream in (None, record.stream)]
    return b"".join(record.content + (b"\n" if record.full else b"") for record in chosen)


def text(path: str, stream: str | None = None) -> str:
    return content(read(path), stream).decode(errors="replace")
