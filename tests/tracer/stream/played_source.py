"""A source that is played, with QEMU's windows, quota and threshold; it keeps what it sent and when it was written."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from migsim.qapi import QemuVersion
from migsim.qmp import QmpCommandError
from tests.tracer.played_qemu import PlayedQemu
from tests.tracer.stream.stream_bytes import bitmap_section, section, stream_head

BLOCKS = (("pc.ram", 3000),)
WINDOW_S = 0.1
RECORD_BYTES = 4104
PIECE = 32  # pages that are handed to the socket at once


class PlayedSource(PlayedQemu):
    """Writes `writes_per_s` pages a second, one after the other in a ring of `hot` pages.

    Parameters
    ----------
    version : str
        Before 8.0, a dirty bitmap that migrates stays pending; from 8.2 on, `switchover-ack` holds the source.
    announces : bool
        Whether the bitmaps migrate, where there are some.
    own_bitmaps : bool
        Whether a disk of the guest has a dirty bitmap.
    null_co : bool
        Whether this QEMU has the driver.

    Attributes
    ----------
    found : list of set of int
        The pages that each sync found dirty; the first is all of RAM.
    """

    def __init__(
        self,
        version: str,
        *,
        hot: int = 900,
        writes_per_s: float = 30_000.0,
        announces: bool = True,
        own_bitmaps: bool = False,
        null_co: bool = True,
    ) -> None:
        super().__init__([])
        self.version = QemuVersion.parse(version)
        self.hot, self.writes_per_s = hot, writes_per_s
        self.announces, self.null_co = announces, null_co
        self.capabilities |= dict.fromkeys(("dirty-bitmaps", "return-path", "switchover-ack"), False)
        self.parameters |= (
            {"avail-switchover-bandwidth": 0} if self.version >= QemuVersion.parse("8.2") else {}
        )
        self.nodes: list[dict[str, Any]] = [{"node-name": "disk0"}]
        if own_bitmaps:
            self.nodes[0]["dirty-bitmaps"] = [{"name": "own"}]
        self.found: list[set[int]] = []
        self.left: list[int] = []
        self.sent = 0
        self.shut = False

    # ---- block nodes ----

    def query_named_block_nodes(self, _arguments: Any) -> Any:
        return [dict(node) for node in self.nodes]

    def blockdev_add(self, arguments: Any) -> Any:
        if not self.null_co:
            raise QmpCommandError("blockdev-add", "GenericError", "Unknown driver 'null-co'")
        assert arguments["node-name"] not in [node["node-name"] for node in self.nodes]
        self.nodes.append({"node-name": arguments["node-name"]})
        return {}

    def block_dirty_bitmap_add(self, arguments: Any) -> Any:
        (node,) = [node for node in self.nodes if node["node-name"] == arguments["node"]]
        node["dirty-bitmaps"] = [{"name": arguments["name"]}]
        return {}

    def blockdev_del(self, arguments: Any) -> Any:
        assert self.status in ("none", "cancelled", "failed", "completed")
        self.nodes = [node for node in self.nodes if node["node-name"] != arguments["node-name"]]
        return {}

    # ---- the migration ----

    def query_migrate(self, _arguments: Any) -> Any:
        ram = {"remaining": len(self.left) * 4096, "normal": self.sent, "duplicate": 0}
        return {"status": self.status, "ram": ram | {"dirty-sync-count": len(self.found)}}

    def bitmaps(self) -> int:
        nodes = sum(len(node.get("dirty-bitmaps", ())) for node in self.nodes)
        return nodes if self.announces and self.capabilities["dirty-bitmaps"] else 0

    def held(self) -> bool:
        return (
            self.capabilities["switchover-ack"]
            if self.version >= QemuVersion.parse("8.1")
            else self.bitmaps() > 0
        )

    def sync(self, pages: set[int]) -> None:
        self.left = sorted(set(self.left) | pages)
        self.found.append(pages)
        self.note("MIGRATION_PASS")

    def dirty_since(self, since_s: float) -> set[int]:
        first, last = (int(at * self.writes_per_s) for at in (since_s, time.time()))
        return {2000 + write % self.hot for write in range(first, min(last, first + self.hot))}

    def threshold(self, bytes_per_ms: float) -> int:
        bandwidth = self.parameters.get("avail-switchover-bandwidth", 0) // 1000
        return int((bandwidth or bytes_per_ms) * self.parameters["downtime-limit"])

    def send(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as stream, contextlib.suppress(ConnectionError, TimeoutError):
            stream.connect(path)
            stream.settimeout(0.02)
            self.sent, self.left, self.found = 0, [], []
            self.announce("active")
            self.sync(set(range(BLOCKS[0][1])))
            self.give(
                stream, stream_head(BLOCKS) + (bitmap_section(self.bitmaps()) if self.bitmaps() else b"")
            )
            self.migrate_on(stream)
        self.announce("cancelled")

    def migrate_on(self, stream: socket.socket) -> None:
        """Iterate as QEMU does, until cancelled or until the switchover."""
        window_s, used, threshold, synced_s = time.time(), 0, 0, time.time()
        while not self.cancelled.is_set():
            now = time.time()
            if now >= window_s + WINDOW_S:
                threshold = self.threshold(used / (1000 * (now - window_s)))
                window_s, used = now, 0
            if used > self.parameters["max-bandwidth"] / 10:
                self.cancelled.wait(max(window_s + WINDOW_S - time.time(), 0))
                continue
            if len(self.left) * 4096 < threshold:
                dirty, synced_s = self.dirty_since(synced_s), time.time()
                self.sync(dirty)
            if not self.left and not self.held():
                self.switch_over()
                return
            used += self.iterate(stream, self.parameters["max-bandwidth"] / 10 - used)
            self.cancelled.wait(0.0005)

    def iterate(self, stream: socket.socket, quota: float) -> int:
        """Send a section: pages until none is left or the quota is used up."""
        pages: list[int] = []
        while self.left and RECORD_BYTES * len(pages) <= quota:
            pages.append(self.left.pop(0))
            self.sent += 1
        self.give(stream, section([("normal", "pc.ram", page) for page in pages]))
        return 30 + RECORD_BYTES * len(pages)

    def give(self, stream: socket.socket, data: bytes) -> None:
        """Send, and wait while the socket's buffer is full, unless cancelled."""
        at = 0
        while at < len(data) and not self.cancelled.is_set():
            with contextlib.suppress(TimeoutError):
                at += stream.send(data[at : at + PIECE * RECORD_BYTES])

    def switch_over(self) -> None:
        self.note("STOP")
        self.running = False
        self.announce("pre-switchover")
        self.cancelled.wait()
        self.running = True
        self.note("RESUME")
