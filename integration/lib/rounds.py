"""How often an attack is repeated: a few times in CI, as often as the list of attacks asks with
SWIFTLET_ATTACK_ROUNDS=full. An emulated machine repeats it as much less often as it is slower."""

import os

from .wait import PATIENCE

FULL = os.environ.get("SWIFTLET_ATTACK_ROUNDS") == "full"


def rounds(few: int, row: int) -> int:
    """`row` is what the row asks for."""
    return row if FULL else max(1, int(few / PATIENCE))
