"""How often an attack is repeated: a few times in CI, as often as the list of attacks asks with
SWIFTLET_ATTACK_ROUNDS=full."""

import os

FULL = os.environ.get("SWIFTLET_ATTACK_ROUNDS") == "full"


def rounds(few: int, row: int) -> int:
    """`row` is what the row asks for."""
    return row if FULL else few
