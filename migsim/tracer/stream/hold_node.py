"""A block node with a dirty bitmap that keeps QEMU before 8.0 from switching over, added for a recording.

Those releases let a migration complete once all that is pending, of whatever device, is below the threshold, and sync
the RAM's dirty log once the RAM's part is. A dirty bitmap is sent when the guest has stopped, so it stays pending: one
granule counts as a byte. The node is a `null-co`: it reads and writes nothing, and no device of the guest sees it.

QEMU locks the bitmaps that migrate, so a guest that has bitmaps of its own is left without this node, unless
`block-bitmap-mapping` keeps them out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from migsim.qapi import QemuVersion

if TYPE_CHECKING:
    from migsim.qmp import QmpSession

__all__ = ["CAPABILITY", "MAPPING", "NODE", "add_node", "own_mapping", "remove_node", "why_not"]

NODE = "migsim-hold"
CAPABILITY = "dirty-bitmaps"
MAPPING = "block-bitmap-mapping"
_BITMAP = "hold"
_GRANULARITY = 512  # the least
_GRANULES = (
    1 << 24
)  # more than the threshold of any recording: 16 GB/s for a millisecond; QEMU takes 2 MiB for them
_SINCE, _UNTIL = (
    QemuVersion.parse("5.0"),
    QemuVersion.parse("8.0"),
)  # later ones sync without end at threshold 0


def why_not(session: QmpSession, parameters: Mapping[str, Any], capabilities: Mapping[str, bool]) -> str:
    """Say why this guest cannot be given the node, "" where it can.

    Parameters
    ----------
    session : QmpSession
    parameters, capabilities : mapping
        The guest's own.
    """
    if not _SINCE <= session.version < _UNTIL:
        return f"QEMU {session.version} cannot be held before its syncs; 5.0 to 7.2, and 8.2 to 11.0, can"
    if CAPABILITY not in capabilities:
        return "this QEMU migrates no dirty bitmaps"
    if MAPPING not in parameters and any(node.get("dirty-bitmaps") for node in _nodes(session)):
        return "QEMU would lock the dirty bitmaps of the guest's disks"
    return ""


def add_node(session: QmpSession) -> str:
    """Add the node and its bitmap; return why QEMU has not, "" where it has."""
    from migsim.qmp import QmpCommandError

    try:
        remove_node(session)
        size = _GRANULES * _GRANULARITY
        node = {"driver": "null-co", "node-name": NODE, "size": size, "read-only": True}
        session.execute("blockdev-add", node)
        bitmap = {"node": NODE, "name": _BITMAP, "granularity": _GRANULARITY}
        session.execute("block-dirty-bitmap-add", bitmap)
    except QmpCommandError as error:
        with contextlib.suppress(QmpCommandError):
            remove_node(session)
        return f"QEMU takes no null-co node with a dirty bitmap ({error.description})"
    return ""


def remove_node(session: QmpSession) -> bool:
    """Remove the node with its bitmap where the guest has it; return whether it had.

    Raises
    ------
    QmpError
        A migration is under way.
    """
    if not session.version < _UNTIL or all(node.get("node-name") != NODE for node in _nodes(session)):
        return False
    session.execute("blockdev-del", {"node-name": NODE})
    return True


def own_mapping() -> list[dict[str, Any]]:
    """Return the value of `block-bitmap-mapping` that lets no other bitmap migrate."""
    return [{"node-name": NODE, "alias": NODE, "bitmaps": [{"name": _BITMAP, "alias": _BITMAP}]}]


def _nodes(session: QmpSession) -> list[dict[str, Any]]:
    from migsim.qmp import QmpCommandError

    try:
        nodes: list[dict[str, Any]] = session.execute("query-named-block-nodes", {"flat": True})
    except QmpCommandError:  # a QEMU without that command, or that argument, has no node of ours
        return []
    return nodes
