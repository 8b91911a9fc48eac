"""The exact XBZRLE cache against QEMU's own: the pages of a real stream, in their order, with their sync generation.

Our reader is the destination of a real migration, so that it sees every page that QEMU sends, raw or encoded. QEMU's
trace log has the pages that it takes up, in the same order, and the syncs between them; a page that it took up and did
not send was unchanged since it was last sent.
"""

import re
import time

import numpy as np
import pytest

from migsim.lab.guest_log import wait_ready
from migsim.models.xbzrle.cache import XbzrleCache, cache_pages
from migsim.models.xbzrle.encoding import RECORD_BYTES, counted_bytes
from migsim.qapi import QemuVersion
from migsim.tracer.preflight import run_hmp
from migsim.tracer.stream.reader import StreamReader
from migsim.tracer.stream.source import listening_socket
from tests.live_guest import live_guest

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

HOT = 4000
CACHE_BYTES = 8 << 20
WORKLOAD = f"-- touch=6000 fill=page class=0:{HOT}:1:sweep:bytes=8 report=200"
EVENTS = ("migration_bitmap_sync_start", "ram_save_page")
SYNCS = 24


class Sequence:
    """A stream's pages in their order, but for zero pages, and how long the encoded ones are (-1: sent whole)."""

    def __init__(self):
        self.blocks, self.pages, self.lengths, self.zero = (), [], [], 0
        self.now_s = 0.0

    def ram_blocks(self, blocks):
        self.blocks = tuple(blocks)

    def normal_pages(self, pages, contents):
        self.pages += pages.tolist()
        self.lengths += [-1] * len(pages)

    def zero_pages(self, pages):
        self.zero += len(pages)

    def encoded_page(self, page, encoded_bytes):
        self.pages.append(page)
        self.lengths.append(encoded_bytes)

    def section_end(self, pages):
        pass


def migrated(version, folder):
    """Migrate a guest into a `Sequence` with XBZRLE; (sequence, query-migrate, trace log, RAM addresses of blocks)."""
    with live_guest(folder, version, WORKLOAD) as source:
        wait_ready(source, 60.0)
        run = source.qmp.execute
        offsets = dict(
            re.findall(r"^\s*(\S+)\s+\d+ \S+\s+(0x\w+)", run_hmp(source.qmp, "info ramblock"), re.MULTILINE)
        )
        for name in EVENTS:
            run("trace-event-set-state", {"name": name, "enable": True})
        on = [{"capability": name, "state": True} for name in ("xbzrle", "events")]
        run("migrate-set-capabilities", {"capabilities": on})
        # A sync comes with some 2200 pages unsent, more than the cache holds: entries grow old, and no round ends
        # with all pages sent, so that none is sent twice in a moment.
        run(
            "migrate-set-parameters",
            {"max-bandwidth": 20_000_000, "downtime-limit": 450, "xbzrle-cache-size": CACHE_BYTES},
        )
        sequence = Sequence()
        with listening_socket() as (listener, path):
            reader = StreamReader(listener, sequence, peer_pid=source.qmp.peer_pid)
            reader.start()
            run("migrate", {"uri": f"unix:{path}"})
            until(lambda: run("query-migrate").get("ram", {}).get("dirty-sync-count", 0) >= SYNCS)
            run("migrate-set-parameters", {"downtime-limit": 2_000_000})
            until(lambda: run("query-migrate")["status"] == "completed")
            reader.close()
            assert reader.error is None
        info = run("query-migrate")
        return sequence, info, source.trace_lines(), offsets


def until(reached, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def taken_up(lines, blocks):
    """Syncs of the trace log, and each page that QEMU took up, zero pages apart, with the syncs before it."""
    first = {block.name: block.first_page for block in blocks}
    syncs, pages, generation = 0, [], []
    for line in lines:
        syncs += "migration_bitmap_sync_start" in line
        page = re.search(r"ram_save_page (\S+): offset: (0x[0-9a-f]+)", line)
        if page:
            pages.append(first[page[1]] + int(page[2], 16) // 4096)
            generation.append(syncs)
    return syncs, np.array(pages), np.array(generation)


def sent_lengths(pages, sequence):
    """Length of each page that QEMU took up: of its encoding, -1 sent whole, 0 unchanged and not sent."""
    lengths, sent = np.zeros(len(pages), np.int64), 0
    for i, page in enumerate(pages):
        if sent < len(sequence.pages) and sequence.pages[sent] == page:
            lengths[i] = sequence.lengths[sent]
            sent += 1
    assert sent == len(sequence.pages)  # both tell the same pages in the same order
    return lengths


def played(pages, generation, syncs, aged=True):
    """Send a sequence through the exact cache; the last generation is the last stage."""
    cache = XbzrleCache(cache_pages(CACHE_BYTES), aged=aged)
    found = [
        cache.access(pages[generation == number], number, insert=bool(number < syncs))
        for number in np.unique(generation)
    ]
    return cache, np.concatenate(found)


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_hits_and_misses_are_qemus_own(version, tmp_path):
    sequence, info, lines, offsets = migrated(version, tmp_path)
    assert int(offsets["pc.ram"], 16) == 0  # so that a page's number is its address in QEMU's RAM
    told = info["xbzrle-cache"]
    syncs, pages, generation = taken_up(lines, sequence.blocks)
    assert syncs == info["ram"]["dirty-sync-count"]
    lengths = sent_lengths(pages, sequence)
    assert info["ram"]["duplicate"] == sequence.zero
    # XBZRLE rests until every page was sent once, so that it begins with the first page that comes again.
    assert told["overflow"] == 0
    start = len(pages) - told["cache-miss"] - told["pages"]
    assert len(np.unique(pages[:start])) == start
    assert pages[start] in pages[:start]

    cache, found = played(pages[start:], generation[start:], syncs)
    assert (cache.hits, cache.misses) == (told["pages"], told["cache-miss"])
    assert np.array_equal(found, lengths[start:] >= 0)
    # Entries were refused and, when old, replaced; without ageing it would be another cache.
    assert cache.refused > 1000 and cache.misses - cache.refused > cache.cache_pages + 200
    assert played(pages[start:], generation[start:], syncs, aged=False)[0].hits < 0.8 * cache.hits
    counted = int(counted_bytes(lengths[lengths > 0], QemuVersion.parse(version)).sum())
    assert 0 <= told["bytes"] - counted < RECORD_BYTES * syncs  # a block's name where it changed
