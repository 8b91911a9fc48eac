"""How fast the stream collector reads, beside reading the same socket into nothing.

A child process writes the same stream again and again into a unix socket as fast as it can; this process
reads it with `recv_into` alone and with the collector's parser, round book and content sampler, in turn.

    python benchmarks/stream_collector.py [--seconds 2] [--repeats 3] [--normal-share 0.9]

Prints JSON, medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import struct
import time

from migsim.tracer.content import ContentSampler
from migsim.tracer.stream_format import StreamParser
from migsim.tracer.stream_reader import receive
from migsim.tracer.stream_rounds import RoundBook

BLOCK = b"pc.ram"
GUEST_PAGES = 1 << 18
CONTINUE, PAGE, ZERO, EOS = 0x20, 0x08, 0x02, 0x10


def head() -> bytes:
    """File header, configuration and the RAM block table."""
    machine = b"pc-i440fx-10.0"
    table = struct.pack(">QB6sQQ", GUEST_PAGES * 4096 | 0x04, len(BLOCK), BLOCK, GUEST_PAGES * 4096, EOS)
    start = struct.pack(">BIB3sII", 1, 2, 3, b"ram", 0, 4)
    config = struct.pack(">BI", 7, len(machine)) + machine
    return b"QEVM" + struct.pack(">I", 3) + config + start + table + struct.pack(">BI", 0x7E, 2)


def sweep(normal_share: float, run_pages: float, seed: int) -> bytes:
    """64 MiB of a sweep over the guest: runs of normal and of zero pages, in sections as QEMU cuts them."""
    rng = random.Random(seed)
    payload = bytes(rng.randrange(1, 256) for _ in range(4096))
    parts, size, page, in_section = [], 0, 0, 0
    while size < 64 << 20:
        if not in_section:
            parts.append(struct.pack(">BI", 2, 2))
            record = struct.pack(">QB6sB", page << 12 | ZERO, len(BLOCK), BLOCK, 0)
            parts.append(record)
        normal = rng.random() < normal_share
        for _ in range(1 + int(rng.expovariate(1 / run_pages))):
            page = (page + 1) % GUEST_PAGES
            record = struct.pack(">Q", page << 12 | CONTINUE | (PAGE if normal else ZERO))
            parts.append(record + (payload if normal else b"\0"))
            size += len(parts[-1])
            in_section += 1
        if in_section > 3000:
            parts.append(struct.pack(">QBI", EOS, 0x7E, 2))
            in_section = 0
    if in_section:
        parts.append(struct.pack(">QBI", EOS, 0x7E, 2))
    return b"".join(parts)


def source(body: bytes) -> tuple[socket.socket, int]:
    """Fork a writer that sends `body` for ever; the reader's end of the socket and the writer's pid."""
    reader, writer = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        reader.close()
        try:
            writer.sendall(head())
            view = memoryview(body)
            while True:
                for at in range(0, len(view), 131328):  # QEMU writes 32 normal pages at once
                    writer.sendall(view[at : at + 131328])
        except OSError:
            pass
        finally:
            os._exit(0)
    writer.close()
    return reader, pid


def read_null(reader: socket.socket, seconds: float) -> float:
    """Bytes per second of receiving and throwing away."""
    buffer = bytearray(4 << 20)
    total, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        total += reader.recv_into(buffer)
    return total / (time.perf_counter() - begin)


def read_parsed(reader: socket.socket, seconds: float) -> float:
    """Bytes per second of the collector's own reading loop body."""
    sampler = ContentSampler()
    book = RoundBook(sampler)
    parser = StreamParser(book)
    total, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        total += receive(reader, parser, book)
        if book.pages_seen > GUEST_PAGES:
            book.cut(0.0, book.now_s)
            sampler.take()
            book.keep_pages, book.pages_seen = True, 0
    return total / (time.perf_counter() - begin)


def measure(read, body: bytes, seconds: float) -> float:
    reader, pid = source(body)
    try:
        return read(reader, seconds)
    finally:
        reader.close()
        os.waitpid(pid, 0)


def figures(*, seconds: float, repeats: int, normal_share: float, run_pages: float) -> dict[str, float]:
    """Medians over the repeats: collector, nothing at all, and their ratio in the same repeat."""
    body = sweep(normal_share, run_pages, seed=1)
    null, parsed = [], []
    for _ in range(repeats):
        null.append(measure(read_null, body, seconds))
        parsed.append(measure(read_parsed, body, seconds))
    ratios = [p / n for p, n in zip(parsed, null, strict=True)]
    return {
        "bytes_per_s": round(statistics.median(parsed)),
        "null.bytes_per_s": round(statistics.median(null)),
        "vs_null.ratio": round(statistics.median(ratios), 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--normal-share", type=float, default=0.9, help="share of runs of normal pages")
    arguments.add_argument("--run-pages", type=float, default=200.0, help="mean length of a run of one kind")
    given = vars(arguments.parse_args())
    print(json.dumps({f"stream.{name}": value for name, value in figures(**given).items()}, indent=2))


if __name__ == "__main__":
    main()
