"""H2: after all attacks of this session nothing of the node is other than before them.

Named to come last. Seen to fail with ContainerRoot.open without RESOLVE_IN_ROOT and L13's target behind a link to /etc.
Where others work on the same machine (SWIFTLET_SHARED_HOST=1) it can only be told, not held against us."""

import warnings

from lib.census import SHARED


def test_nothing_else_of_the_node_has_changed(host):
    changes = host.changes()
    if SHARED and changes:
        warnings.warn(f"changed on the node, by us or by others: {changes[:20]}", stacklevel=1)
        return
    assert not changes, f"escape: changed on the node: {changes[:20]}"
