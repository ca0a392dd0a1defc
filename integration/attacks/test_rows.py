"""Every row of layers L and S is a file here, or a line of README.md's table: where it is, or why it cannot be; and
each was seen to fail."""

import pathlib
import re

HERE = pathlib.Path(__file__).parent
ROWS = [f"L{number:02}" for number in range(1, 35)] + [f"S{number:02}" for number in range(1, 4)]


def table() -> dict[str, str]:
    """Where rows are that have no file."""
    lines = HERE.joinpath("README.md").read_text().split("\n## ")[0].splitlines()
    found = [re.fullmatch(r"\| ([LS]\d\d) \| (.+) \|", line) for line in lines]
    return dict(match.groups() for match in found if match)


def test_every_row_is_somewhere():
    files = [path.name for path in HERE.glob("test_*.py")]
    listed = table()
    missing = [row for row in ROWS if row not in listed and not any(name.startswith(f"test_{row}_") for name in files)]
    assert not missing
    for row, text in listed.items():
        assert row in ROWS and len(text) > 20, row
        for name in re.findall(r"`([\w/]+\.\w+)`", text):
            assert HERE.parent.joinpath(name).is_file(), (row, name)


def test_every_row_was_seen_to_fail():
    """What a row stands without is in the README's last table; no look at a build can say that for it."""
    text = HERE.joinpath("README.md").read_text().split("\n## Seen to fail\n")[1]
    seen = {row for names in re.findall(r"^\| ([A-Z0-9, ]+) \|", text, re.M) for row in names.split(", ")}
    files = {path.name.split("_")[1] for path in HERE.glob("test_[A-Z][0-9][0-9]_*.py")}
    cannot = {row for row, text in table().items() if "`shim/" not in text}
    missing = (files | set(ROWS)) - seen - cannot
    assert not missing, "run it without its guard, and say in README.md what that was"


def test_every_file_names_its_row():
    for path in HERE.glob("test_[A-Z][0-9][0-9]_*.py"):
        row = path.name.split("_")[1]
        assert re.match(rf'"""({row}\b|\w\d\d, {row}\b)', path.read_text()), path.name
