"""What a daemon has written about its containers."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3


def container(daemon, id: str) -> dict:
    """The record of a container; the two messages in it as bytes."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.root / 'state.db'}?mode=ro", uri=True)) as records:
        (row,) = records.execute("SELECT record FROM containers WHERE id = ?", (id,))
    record = json.loads(row[0])["record"]
    return {**record, **{key: base64.b64decode(record[key]) for key in ("config", "startRequest")}}


def specification(daemon, id: str) -> dict:
    """What a start will be told to do, without the identity of the container: ids, and the directories after them."""
    record = container(daemon, id)
    kept = {key: value for key, value in record.items()
            if key not in ("id", "sandboxID", "createdAt", "config", "metadata", "logPath")}
    return {**kept, "startRequest": re.sub(rb"[0-9a-f]{64}", b"ID", record["startRequest"])}


def change(daemon, table: str, id: str | None, how) -> None:
    """Rewrites a record, or with None all of a table, of a daemon that does not run: `how` changes the record's fields,
    or gives bytes to stand in its place."""
    with contextlib.closing(sqlite3.connect(daemon.root / "state.db")) as records, records:
        rows = records.execute(f"SELECT id, record FROM {table} WHERE ? IN (id, '')", (id or "",)).fetchall()
        assert rows, f"no {id or 'row'} in {table}"
        for key, blob in rows:
            content = json.loads(blob)
            new = how(content["record"])
            records.execute(f"UPDATE {table} SET record = ? WHERE id = ?",
                            (json.dumps(content).encode() if new is None else new, key))
