"""How fast the stream collector reads, compared with receiving from the same socket and discarding.

A child process writes round after round of a guest into a unix socket as fast as it can. A round has each page once,
and each page changes from one round to the next. This process reads the socket with `recv_into` alone, and then with
the collector's parser, section log and content sampler.

    python -m benchmarks.stream_collector [--seconds 2] [--repeats 3] [--normal-share 0.9] [--run-pages 200]

Prints JSON, medians over the repeats: bytes a second of wall-clock time, and this process's CPU seconds for 10^9 bytes.
Without `--normal-share` and `--run-pages` a second stream, of short runs, follows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import socket
import statistics
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from migsim.tracer.content import ContentSampler
from migsim.tracer.stream.format import StreamParser
from migsim.tracer.stream.reader import receive
from migsim.tracer.stream.rounds import SectionLog

Reading = Callable[[socket.socket, float], float]

BLOCK = b"pc.ram"
GUEST_PAGES = 1 << 18
CONTINUE, PAGE, ZERO, EOS = 0x20, 0x08, 0x02, 0x10
STREAMS = {"stream": (0.9, 200.0), "stream.short_runs": (0.5, 1.5)}
"""Share of runs of normal pages (other runs are of zero pages), and mean length of a run in pages."""
CHANGED_BYTES = 256
SECTION_PAGES = 3000
NAME = struct.pack("B6s", len(BLOCK), BLOCK)


def head() -> bytes:
    """Make the stream's start: file header, configuration and the table of RAM blocks."""
    machine = b"pc-i440fx-10.0"
    table = struct.pack(">QB6sQQ", GUEST_PAGES * 4096 | 0x04, len(BLOCK), BLOCK, GUEST_PAGES * 4096, EOS)
    start = struct.pack(">BIB3sII", 1, 2, 3, b"ram", 0, 4)
    config = struct.pack(">BI", 7, len(machine)) + machine
    return b"QEVM" + struct.pack(">I", 3) + config + start + table + struct.pack(">BI", 0x7E, 2)


def payloads() -> list[bytes]:
    """Make the two contents between which a page changes."""
    rng = random.Random(0)
    before = bytearray(rng.randrange(1, 256) for _ in range(4096))
    after = bytearray(before)
    for at in rng.sample(range(4096), CHANGED_BYTES):
        after[at] ^= 0xFF
    return [bytes(before), bytes(after)]


@dataclass
class Stretch:
    """Sections of a round for a part of the guest, which `move` turns into those of another part.

    Attributes
    ----------
    data : bytearray
        The sections.
    words : ndarray
        View of `data`: the 8-byte word that begins at each byte.
    at : ndarray
        Offsets of the words that hold page addresses; their pages ascend from 0.
    """

    data: bytearray
    words: np.ndarray
    at: np.ndarray

    def move(self, pages: int) -> None:
        """Move all page addresses up by `pages` pages."""
        self.words[self.at] += np.uint64(pages % (1 << 52) << 12)


def stretch(normal_share: float, run_pages: float, seed: int, payload: bytes) -> Stretch:
    """Make 64 MiB of stream, or less for a whole guest: runs of normal and of zero pages, in sections like QEMU's."""
    rng = random.Random(seed)
    data, at = bytearray(), []
    while len(data) < 64 << 20 and len(at) < GUEST_PAGES:
        data += struct.pack(">BI", 2, 2)
        first, full = len(at), min(len(at) + SECTION_PAGES, GUEST_PAGES)
        while len(at) < full:
            kind, body = (PAGE, payload) if rng.random() < normal_share else (ZERO, b"\0")
            for _ in range(min(1 + int(rng.expovariate(1 / run_pages)), GUEST_PAGES - len(at))):
                named = len(at) == first
                word = struct.pack(">Q", len(at) << 12 | kind | (0 if named else CONTINUE))
                at.append(len(data))
                data += word + (NAME if named else b"") + body
        data += struct.pack(">QBI", EOS, 0x7E, 2)
    return Stretch(data, np.ndarray((len(data) - 7,), ">u8", data, 0, (1,)), np.array(at))


def source(stretches: list[Stretch]) -> tuple[socket.socket, int]:
    """Fork a writer that sends rounds for ever; return the reader's end of the socket and the writer's pid."""
    reader, writer = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        reader.close()
        try:
            writer.sendall(head())
            for part in itertools.cycle(stretches):
                send_round(writer, part)
        except OSError:
            pass
        finally:
            os._exit(0)
    writer.close()
    return reader, pid


def send_round(writer: socket.socket, part: Stretch) -> None:
    """Write a round: `part` for each part of the guest, one after the other."""
    view, step = memoryview(part.data), len(part.at)
    times = GUEST_PAGES // step
    for _ in range(times):
        for at in range(0, len(view), 131328):  # QEMU writes 32 normal pages at once
            writer.sendall(view[at : at + 131328])
        part.move(step)
    part.move(-step * times)


def read_null(reader: socket.socket, seconds: float) -> float:
    """Bytes a second when bytes are received and discarded."""
    buffer = bytearray(4 << 20)
    total, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        total += reader.recv_into(buffer)
    return total / (time.perf_counter() - begin)


def read_parsed(reader: socket.socket, seconds: float) -> float:
    """Bytes a second with the body of the collector's own reading loop."""
    sampler = ContentSampler()
    section_log = SectionLog(sampler)
    section_log.keep_pages = True  # as after the first round
    parser = StreamParser(section_log)
    total, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        total += receive(reader, parser, section_log)
        if section_log.pages_received > GUEST_PAGES:  # a round, or nearly so
            section_log.cut_round(0.0, section_log.now_s)
            sampler.take_statistics()
            section_log.pages_received = 0
    return total / (time.perf_counter() - begin)


def measure(read: Reading, stretches: list[Stretch], seconds: float) -> tuple[float, float]:
    """Bytes a second, and CPU seconds for 10^9 bytes."""
    reader, pid = source(stretches)
    try:
        cpu_s, begin_s = time.thread_time(), time.perf_counter()
        bytes_per_s = read(reader, seconds)
        cpu_s, elapsed_s = time.thread_time() - cpu_s, time.perf_counter() - begin_s
        return bytes_per_s, cpu_s / (bytes_per_s * elapsed_s) * 1e9
    finally:
        reader.close()
        os.waitpid(pid, 0)


def stream_figures(
    *, seconds: float, repeats: int, normal_share: float, run_pages: float
) -> dict[str, float]:
    """Medians over the repeats: collector, discarding, and their ratio in the same repeat."""
    stretches = [stretch(normal_share, run_pages, 1, payload) for payload in payloads()]
    null, parsed = [], []
    for _ in range(repeats):
        null.append(measure(read_null, stretches, seconds))
        parsed.append(measure(read_parsed, stretches, seconds))
    median = statistics.median
    return {
        "bytes_per_s": round(median(rate for rate, _ in parsed)),
        "cpu_s_per_gb": round(median(cpu_s for _, cpu_s in parsed), 4),
        "null.bytes_per_s": round(median(rate for rate, _ in null)),
        "null.cpu_s_per_gb": round(median(cpu_s for _, cpu_s in null), 4),
        "vs_null.ratio": round(median(p / n for (p, _), (n, _) in zip(parsed, null, strict=True)), 3),
    }


def all_figures(streams: dict[str, tuple[float, float]], *, seconds: float, repeats: int) -> dict[str, float]:
    """Figures of several streams; each key begins with the stream's name."""
    found = {}
    for name, (normal_share, run_pages) in streams.items():
        one_stream = stream_figures(
            seconds=seconds, repeats=repeats, normal_share=normal_share, run_pages=run_pages
        )
        found |= {f"{name}.{key}": value for key, value in one_stream.items()}
    return found


def figures(repeats: int) -> dict[str, float]:
    """Figures of all streams."""
    return all_figures(STREAMS, seconds=2.0, repeats=repeats)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--normal-share", type=float, help="share of runs of normal pages (0.9)")
    arguments.add_argument("--run-pages", type=float, help="mean length of a run of one kind (200)")
    given = arguments.parse_args()
    asked = (given.normal_share, given.run_pages)
    streams = dict(STREAMS)
    if asked != (None, None):
        usual = STREAMS["stream"]
        streams = {
            "stream": tuple(
                default if value is None else value for value, default in zip(asked, usual, strict=True)
            )
        }
    print(json.dumps(all_figures(streams, seconds=given.seconds, repeats=given.repeats), indent=2))


if __name__ == "__main__":
    main()
