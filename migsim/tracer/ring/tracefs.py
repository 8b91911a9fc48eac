"""KVM's dirty-ring events of one QEMU, read in binary from a tracing instance of its own.

A tracing instance has its own buffers and its own set of enabled events, so it does not disturb other users of
tracefs. It is removed at the end, and tracefs is unmounted if it was not mounted before.

A buffer page holds a time stamp, the number of bytes used, and events. An event is a 32-bit head (5 bits type or
length, 27 bits nanoseconds since the previous event) and a body, whose layout the event's ``format`` file describes.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from migsim.errors import HostError

__all__ = [
    "EVENTS",
    "TRACEFS",
    "RingEvents",
    "TracingInstance",
    "decode_page",
    "mounted_tracefs",
    "parse_event_format",
]

TRACEFS = Path("/sys/kernel/tracing")
EVENTS = ("kvm_dirty_ring_push", "kvm_dirty_ring_reset")
_FIELD = re.compile(r"field:(?:[\w ]+?)\s(\w+);\s+offset:(\d+);\s+size:(\d+);\s+signed:(\d);")
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_COMMIT_MASK = (1 << 20) - 1
_BUFFER_KIB = 128 << 10  # of all processors together


class RingEvents(NamedTuple):
    """Dirty-ring pushes in time order, and the times of the resets; times are ns of the monotonic clock."""

    time_ns: npt.NDArray[np.int64]
    vcpu: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    resets_ns: npt.NDArray[np.int64]


def parse_event_format(text: str) -> tuple[int, dict[str, tuple[int, int]]]:
    """Parse an event's ``format`` file: return its id and the (offset, size) of each field.

    Raises
    ------
    HostError
        The text is not a format file.
    """
    number = re.search(r"^ID:\s*(\d+)", text, re.MULTILINE)
    fields = {match[1]: (int(match[2]), int(match[3])) for match in _FIELD.finditer(text)}
    if number is None or "common_type" not in fields:
        raise HostError(
            "The format file of a tracepoint cannot be parsed.",
            "tracefs gives the id and the fields of every event there.",
            "Use another --method.",
        )
    return int(number[1]), fields


def push_dtype(fields: dict[str, tuple[int, int]]) -> np.dtype[np.void]:
    """Return the NumPy type of a push event, with the 32-bit head before its fields."""
    names = ["common_type", "index", "slot", "offset"]
    end = max(offset + size for offset, size in fields.values())
    return np.dtype(
        {
            "names": ["head", *names],
            "formats": ["<u4", *(f"<u{fields[name][1]}" for name in names)],
            "offsets": [0, *(4 + fields[name][0] for name in names)],
            "itemsize": 4 + (end + 3) // 4 * 4,
        }
    )


def decode_page(
    page: bytes, push_id: int, push: np.dtype[np.void], reset_id: int
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64], list[int]]:
    """Decode one buffer page.

    Parameters
    ----------
    page : bytes
        Header and data, as read from ``trace_pipe_raw``.
    push_id, reset_id : int
        Ids of the two `EVENTS`.
    push : dtype
        From `push_dtype`.

    Returns
    -------
    tuple
        The pushes, their times in ns, and the times of the resets in ns.
    """
    if len(page) < 16:
        return np.zeros(0, push), np.zeros(0, np.int64), []
    now = int.from_bytes(page[:8], "little")
    used = min(int.from_bytes(page[8:16], "little") & _COMMIT_MASK, len(page) - 16)
    at, end = 16, 16 + used
    words = push.itemsize // 4 - 1
    records, times, resets = [], [], []
    while at + 4 <= end:
        head = int.from_bytes(page[at : at + 4], "little")
        kind, delta = head & 31, head >> 5
        if kind == words:
            # Nearly all events are pushes, so a whole run of events of this length is decoded at once.
            run = np.frombuffer(page, push, count=(end - at) // push.itemsize, offset=at)
            other = np.flatnonzero(run["head"] & 31 != words)
            run = run[: other[0]] if other.size else run
            if run.size:
                stamps = now + np.cumsum((run["head"] >> 5).astype(np.int64))
                now = int(stamps[-1])
                pushes = run["common_type"] == push_id
                records.append(run[pushes])
                times.append(stamps[pushes])
                at += run.size * push.itemsize
                continue
        array = int.from_bytes(page[at + 4 : at + 8], "little")
        if kind == _PADDING:
            if not delta:
                break
            now, at = now + delta, at + 4 + array
        elif kind == _TIME_EXTEND:
            now, at = now + delta + (array << 27), at + 8
        elif kind == _TIME_STAMP:
            # An absolute stamp holds the low 59 bits; the high bits are those of the page's stamp.
            now, at = (now >> 59 << 59) | (array << 27) | delta, at + 8
        else:
            now += delta
            body = at + (4 if kind else 8)
            if int.from_bytes(page[body : body + 2], "little") == reset_id:
                resets.append(now)
            at += 4 + (4 * kind if kind else (array + 3) // 4 * 4)
    if not records:
        return np.zeros(0, push), np.zeros(0, np.int64), resets
    return np.concatenate(records), np.concatenate(times), resets


@contextlib.contextmanager
def mounted_tracefs(path: Path = TRACEFS) -> Iterator[Path]:
    """Yield the path of a mounted tracefs; mount it, and unmount it at the end, if it is not mounted.

    Raises
    ------
    HostError
        It cannot be mounted on this host.
    """
    if (path / "instances").is_dir():
        yield path
        return
    done = subprocess.run(
        ["mount", "-t", "tracefs", "nodev", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise HostError(
            f"Cannot mount tracefs at {path}: {done.stderr.strip() or 'mount failed'}.",
            "The dirty-ring collector reads a kernel tracepoint.",
            "Run as root on a kernel with tracing, or use another --method.",
        )
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], capture_output=True, check=False)


class TracingInstance:
    """A tracing instance with the dirty-ring events of one QEMU; a context manager.

    Parameters
    ----------
    tracefs : Path
        Where tracefs is mounted.
    threads : sequence of int
        QEMU's threads; the kernel filters out the events of other threads.

    Raises
    ------
    HostError
        The kernel lacks the tracepoints or refuses to trace.
    """

    def __init__(self, tracefs: Path, threads: list[int]) -> None:
        self._folder = tracefs / "instances" / f"migsim-{uuid.uuid4().hex[:8]}"
        self._threads = threads
        self._pipes: list[int] = []
        self._lost_before = 0

    def __enter__(self) -> TracingInstance:
        try:
            self._folder.mkdir()
            self._set_up()
        except OSError as error:
            self._remove()
            raise HostError(
                f"Cannot trace KVM's dirty ring in {self._folder}: {error.strerror}.",
                f"The dirty-ring collector needs the tracepoints {' and '.join(EVENTS)}.",
                "Run as root on a kernel with KVM and tracing, or use another --method.",
            ) from error
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _set_up(self) -> None:
        folder = self._folder
        # This is the clock of time.monotonic_ns(), so event times need no conversion.
        (folder / "trace_clock").write_text("mono")
        processors = sorted(folder.glob("per_cpu/cpu*"))
        kib = min(max(_BUFFER_KIB // max(len(processors), 1), 1024), 32 << 10)
        (folder / "buffer_size_kb").write_text(str(kib))
        own_threads = " || ".join(f"common_pid == {thread}" for thread in self._threads)
        layouts = []
        for name in EVENTS:
            event = folder / "events" / "kvm" / name
            layouts.append(parse_event_format((event / "format").read_text()))
            (event / "filter").write_text(own_threads)
        (self._push_id, fields), (self._reset_id, _) = layouts
        self._push = push_dtype(fields)
        self._page_bytes = _page_bytes(folder)
        self._stats = [processor / "stats" for processor in processors]
        for processor in processors:
            self._pipes.append(os.open(processor / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK))
        for name in EVENTS:
            (folder / "events" / "kvm" / name / "enable").write_text("1")

    def _remove(self) -> None:
        for pipe in self._pipes:
            os.close(pipe)
        self._pipes = []
        for name in EVENTS:
            with contextlib.suppress(OSError):
                (self._folder / "events" / "kvm" / name / "enable").write_text("0")
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def read(self) -> RingEvents:
        """Take all events out of the buffers."""
        records, times, resets = [np.zeros(0, self._push)], [np.zeros(0, np.int64)], []
        for pipe in self._pipes:
            while page := self._read_page(pipe):
                part, stamps, reset = decode_page(page, self._push_id, self._push, self._reset_id)
                records.append(part)
                times.append(stamps)
                resets += reset
        joined, time_ns = np.concatenate(records), np.concatenate(times)
        order = np.argsort(time_ns, kind="stable")
        joined, time_ns = joined[order], time_ns[order]
        vcpu, slot, offset = (joined[name].astype(np.int64) for name in ("index", "slot", "offset"))
        return RingEvents(time_ns, vcpu, slot, offset, np.sort(np.array(resets, dtype=np.int64)))

    def lost(self) -> int:
        """Return the number of events lost since the last call, on all processors together."""
        total = 0
        for stats in self._stats:
            for line in stats.read_text().splitlines():
                if line.startswith(("overrun:", "dropped events:")):
                    total += int(line.rpartition(":")[2])
        self._lost_before, before = total, self._lost_before
        return total - before

    def _read_page(self, pipe: int) -> bytes:
        try:
            return os.read(pipe, self._page_bytes)
        except BlockingIOError:
            return b""


def _page_bytes(folder: Path) -> int:
    """Return the size of a buffer page; older kernels have no file for it and use the host's page size."""
    with contextlib.suppress(OSError, ValueError):
        return int((folder / "buffer_subbuf_size_kb").read_text()) * 1024
    return os.sysconf("SC_PAGESIZE")
