"""What a later version has written, or a shim of it: this one does not start, changes nothing, ends nobody, and says
what it has met (FAULTS F10). With the form it knows all is there again."""

import contextlib
import hashlib
import json
import os
import pathlib
import socket
import sqlite3
import struct
import threading

import pytest

from lib import pods
from lib.census import Census
from lib.trees import below

DEAF = ["sleep", "100000"]
LATER = 99


@pytest.fixture(scope="module")
def settled(victim):
    """A pod with a container, and the daemon killed."""
    pod = victim.client.run_pod()
    container = pod.run(DEAF)
    victim.kill()
    yield victim, pod, container
    if not victim.alive:
        victim.start()
    pod.remove()


def content(daemon) -> dict:
    """Every file of ours and what is in it; but for what containers see, for locks, which have the pid of who tries,
    for the index of SQLite's log, which is memory that processes share, and for a log with nothing in it, which is
    none."""
    def counts(path: pathlib.Path) -> bool:
        return (not {"diff", "fs", "work"} & set(path.parts) and path.is_file() and path.name != "lock"
                and not path.name.endswith("-shm") and not (path.name.endswith("-wal") and not path.stat().st_size))

    return {path: hashlib.sha256(path.read_bytes()).digest()
            for top in (daemon.root, daemon.state) for path in below(top) if counts(path)}


def people(census: Census) -> list:
    return sorted((pid, name) for pid, name, _ in census.owned())


@contextlib.contextmanager
def rows(table: str, daemon):
    with contextlib.closing(sqlite3.connect(daemon.root / "state.db")) as database, database:
        ((id, record),) = database.execute(f"SELECT id, record FROM {table}").fetchall()
        later = json.dumps({"version": LATER, "record": {"of": "another form"}}).encode()
        database.execute(f"UPDATE {table} SET record = ?", (later,))
    try:
        yield id
    finally:
        with contextlib.closing(sqlite3.connect(daemon.root / "state.db")) as database, database:
            database.execute(f"UPDATE {table} SET record = ?", (record,))


def damaged_too(daemon):
    """A row of a later version in a database that is damaged besides: not set aside."""
    @contextlib.contextmanager
    def both():
        with rows("containers", daemon) as id:
            path = daemon.root / "state.db"
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                ((page,),) = database.execute(
                    "SELECT rootpage FROM sqlite_schema WHERE name = 'leases_by_sandbox'").fetchall()
            with open(path, "r+b") as file:
                file.seek((page - 1) * 4096)
                before = file.read(4096)
                file.seek((page - 1) * 4096)
                file.write(b"\xa5" * 4096)
            try:
                yield id
            finally:
                with open(path, "r+b") as file:
                    file.seek((page - 1) * 4096)
                    file.write(before)
    return both()


@contextlib.contextmanager
def tables(daemon):
    with contextlib.closing(sqlite3.connect(daemon.root / "state.db")) as database:
        ((known,),) = database.execute("PRAGMA user_version").fetchall()
        database.execute(f"PRAGMA user_version = {LATER}")
    try:
        yield "state.db"
    finally:
        with contextlib.closing(sqlite3.connect(daemon.root / "state.db")) as database:
            database.execute(f"PRAGMA user_version = {known}")


@contextlib.contextmanager
def file(path: pathlib.Path, text: str | None = None):
    """A file of a later version; by default the JSON document that is there, with another version and form."""
    before = path.read_bytes() if path.exists() else None
    path.write_text(text or json.dumps({"version": LATER, "of": "another form"}))
    try:
        yield str(path)
    finally:
        path.unlink() if before is None else path.write_bytes(before)


@contextlib.contextmanager
def later_shim(daemon, pod):
    """Answers at the pod's socket that its protocol is a later one; the pod's own shim runs on."""
    path = daemon.state / "pods" / pod.id / "shim.sock"
    aside = path.with_name("aside")
    path.rename(aside)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        header = struct.Struct(">IIBB")  # of ttrpc
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as stream:
                    while head := stream.read(header.size):
                        size, number, _, _ = header.unpack(head)
                        stream.read(size)
                        state = b"\x30" + bytes([LATER])  # protocol_version = 6
                        answer = b"\x12" + bytes([len(state)]) + state  # payload = 2
                        connection.sendall(header.pack(len(answer), number, 2, 0) + answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"sandbox {pod.id}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        path.unlink()
        aside.rename(path)


def one(directory: pathlib.Path, pattern: str) -> pathlib.Path:
    return sorted(directory.glob(pattern))[0]


CASES = {
    "directory of records and images": lambda daemon, pod: file(daemon.root / "format", f"{LATER}\n"),
    "directory of running pods": lambda daemon, pod: file(daemon.state / "format", f"{LATER}\n"),
    "tables, leases among them": lambda daemon, pod: tables(daemon),
    "sandbox": lambda daemon, pod: rows("sandboxes", daemon),
    "container": lambda daemon, pod: rows("containers", daemon),
    "container in a damaged database": lambda daemon, pod: damaged_too(daemon),
    "image": lambda daemon, pod: file(one(daemon.root, "images/images/*.json")),
    "layer": lambda daemon, pod: file(one(daemon.root, "images/layers/*/layer.json")),
    "snapshot": lambda daemon, pod: file(one(daemon.root, "images/snapshots/*/snapshot.json")),
    "pod blocks": lambda daemon, pod: file(daemon.root / "net" / "pod-blocks.json"),
    "shim": later_shim,
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_later_version_has_written_is_left_alone(settled, case):
    daemon, pod, container = settled
    census = Census(daemon)
    living = people(census)
    with CASES[case](daemon, pod) as name:
        before = content(daemon)
        code, output = daemon.run_to_end()
        assert code == 1 and name in output and f"has format {LATER}" in output, output
        assert "start the later version again" in output
        assert content(daemon) == before and people(census) == living
    daemon.start()
    assert [item.id for item in daemon.client.pods()] == [pod.id] and pod.ready
    assert container.shell("echo fine") == "fine\n" and set(living) <= set(people(census))
    assert pods.leased(daemon) and [image.id for image in daemon.client.images()]
    daemon.kill()
