"""A tar writer that writes exactly what it is told, deterministic, and able to write what no honest tool would.

Not `tarfile`: hostile entries (names with `..`, whiteouts without a name, links to anywhere) must come out unchanged.
Numbers above the ustar limits, long names and extended attributes go into a pax header, as POSIX.1-2001 says.
"""

from __future__ import annotations

import dataclasses

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
BLOCK_SIZE = 512


@dataclasses.dataclass
class Entry:
    """One member of an archive. Names are raw: nothing is cleaned, nothing is added."""

    name: str
    kind: bytes = REGULAR
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = dataclasses.field(default_factory=dict)
    pax: dict[str, str | bytes] = dataclasses.field(default_factory=dict)
    size: int | None = None  # the header's claim, when it shall differ from the data


def file(name: str, data: bytes | str = b"", mode: int = 0o644, **more) -> Entry:
    return Entry(name, REGULAR, data.encode() if isinstance(data, str) else data, mode, **more)


def directory(name: str, mode: int = 0o755, **more) -> Entry:
    return Entry(name, DIRECTORY, mode=mode, **more)


def symlink(name: str, target: str, **more) -> Entry:
    return Entry(name, SYMLINK, mode=0o777, link=target, **more)


def hardlink(name: str, target: str, **more) -> Entry:
    return Entry(name, HARDLINK, link=target, **more)


def fifo(name: str, mode: int = 0o644, **more) -> Entry:
    return Entry(name, FIFO, mode=mode, **more)


def character(name: str, major: int, minor: int, mode: int = 0o666, **more) -> Entry:
    return Entry(name, CHARACTER, mode=mode, major=major, minor=minor, **more)


def block(name: str, major: int, minor: int, mode: int = 0o666, **more) -> Entry:
    return Entry(name, BLOCK, mode=mode, major=major, minor=minor, **more)


def whiteout(path: str) -> Entry:
    """Hides `path` of the layers below."""
    parent, _, name = path.rpartition("/")
    return file((parent + "/" if parent else "") + ".wh." + name, mode=0)


def opaque(path: str) -> Entry:
    """Hides all that the layers below have in the directory `path`."""
    return file(path + "/.wh..wh..opq", mode=0)


def archive(entries: list[Entry]) -> bytes:
    """The bytes of an archive of `entries`, in their order, with the end marker."""
    out = b"".join(member(entry) for entry in entries)
    return out + b"\0" * (2 * BLOCK_SIZE)


def member(entry: Entry) -> bytes:
    pax: dict[str, bytes] = {k: v if isinstance(v, bytes) else v.encode() for k, v in entry.pax.items()}
    for key, value in entry.xattrs.items():
        pax["SCHILY.xattr." + key] = value
    name, link = entry.name.encode("utf-8", "surrogateescape"), entry.link.encode("utf-8", "surrogateescape")
    if len(name) > 100:
        pax.setdefault("path", name)
    if len(link) > 100:
        pax.setdefault("linkpath", link)
    for key, number in (("uid", entry.uid), ("gid", entry.gid)):
        if number > 0o7777777:
            pax.setdefault(key, str(number).encode())
    extended = b""
    if pax:
        records = b"".join(pax_record(k.encode(), v) for k, v in sorted(pax.items()))
        extended = header(Entry("pax", b"x"), b"PaxHeaders/" + name[-80:], b"", len(records)) + padded(records)
    size = len(entry.data) if entry.size is None else entry.size
    return extended + header(entry, name, link, size) + padded(entry.data)


def pax_record(key: bytes, value: bytes) -> bytes:
    """`<length> key=value\\n`, where the length counts itself."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def header(entry: Entry, name: bytes, link: bytes, size: int) -> bytes:
    def octal(value: int, width: int) -> bytes:
        return b"%0*o\0" % (width - 1, min(value, 8 ** (width - 1) - 1))

    block = bytearray(BLOCK_SIZE)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = octal(entry.mode, 8)
    block[108:116] = octal(entry.uid, 8)
    block[116:124] = octal(entry.gid, 8)
    block[124:136] = octal(size, 12)
    block[136:148] = octal(entry.mtime, 12)
    block[148:156] = b" " * 8
    block[156:157] = entry.kind
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = b"ustar\00000"
    block[329:337] = octal(entry.major, 8)
    block[337:345] = octal(entry.minor, 8)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % BLOCK_SIZE)
