"""The `dirty-rate` collector: QEMU's ``calc-dirty-rate`` with windows of many lengths.

One answer is one number. The curve of unique pages against window length therefore takes many measurements: all
windows in turn, each in every mode that the guest offers, until the time is up. QEMU 7.2 takes windows of whole
seconds, 8.2 and newer of 50 ms and more. Page sampling does not disturb the guest; the write faults of the dirty
bitmap do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from migsim.errors import QmpError, UsageError, near_misses
from migsim.qapi import QemuVersion
from migsim.tracer.base import Availability, ProgressCallback, StopCallback
from migsim.tracer.preflight import query_ram_blocks, refuse_while_busy
from migsim.units import read_positive_s

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

__all__ = ["MILLISECONDS_SINCE", "MODES", "DirtyRateCollector", "choose_sample_pages", "choose_windows_s"]

MODES = ("dirty-bitmap", "dirty-ring", "page-sampling")
MILLISECONDS_SINCE = QemuVersion.parse("8.2")
_COMMAND_SINCE = QemuVersion.parse("5.2")
_MODES_SINCE = QemuVersion.parse("6.2")
_TCG_SINCE = (
    MILLISECONDS_SINCE  # under TCG the command crashes 7.2.22, not 10.0.2; versions between were not tried
)
_MIB = 1 << 20
_SAMPLES_PER_S = 100_000  # for each second of the window: hashing them twice takes a small part of it
_SMALLEST_SAMPLED_BLOCK = 128 << 10  # QEMU skips smaller blocks
_OVERDUE_S = 30.0


def choose_windows_s(milliseconds: bool, duration_s: float) -> list[float]:
    """Choose the window lengths, in seconds, shortest first.

    Examples
    --------
    >>> choose_windows_s(True, 30)
    [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    >>> choose_windows_s(False, 30)
    [1.0, 2.0, 3.0, 5.0]
    """
    steps = (
        [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8] if milliseconds else [1.0, 2.0, 3.0, 5.0, 8.0, 13.0]
    )
    # The longest window takes at most a sixth of the time, so that each window is measured more than once.
    short_enough = [step for step in steps if step <= duration_s / 6]
    return short_enough or steps[:1]


def choose_sample_pages(ram_bytes: int, window_s: float) -> int:
    """Choose ``sample-pages``, the number of pages that QEMU samples in each GiB: 128 to 16384.

    Hashing must take only a small part of the window. Pages are hashed one after the other, more slowly the first
    time than the second, so long hashing shortens the time between the two hashes of a page.

    Examples
    --------
    >>> choose_sample_pages(4 << 30, 0.4), choose_sample_pages(128 << 30, 0.4), choose_sample_pages(1 << 30, 5)
    (10000, 312, 16384)
    """
    wanted = int(_SAMPLES_PER_S * window_s * (1 << 30)) // max(ram_bytes, 1)
    return min(max(wanted, 128), 16384)


class DirtyRateCollector:
    """Measures dirty rates with ``calc-dirty-rate``.

    Parameters
    ----------
    modes : sequence of str, optional
        Some of `MODES`; by default all that this QEMU and guest offer.
    only_if_offered : bool
        Skip modes that the guest does not offer, instead of raising an error.
    windows_s : sequence of float, optional
        The window lengths, instead of those of `choose_windows_s`.

    Raises
    ------
    UsageError
        An unknown mode.

    Examples
    --------
    >>> DirtyRateCollector(["page-sampling"]).name
    'dirty-rate'
    """

    name = "dirty-rate"

    def __init__(
        self,
        modes: Sequence[str] = (),
        *,
        only_if_offered: bool = False,
        windows_s: Sequence[float] = (),
    ) -> None:
        for mode in modes:
            if mode not in MODES:
                raise UsageError(
                    f"{mode!r} is not a mode of calc-dirty-rate.",
                    f"QEMU has {', '.join(MODES)}.",
                    near_misses(mode, MODES),
                )
        self._requested_modes = tuple(modes)
        self._windows_s = tuple(read_positive_s("windows_s", window_s) for window_s in windows_s)
        self._refused_mode_is_error = bool(modes) and not only_if_offered

    def check(self, session: QmpSession) -> Availability:
        """Say whether this QEMU has the command; 5.2 and newer do."""
        if session.version < _COMMAND_SINCE:
            return Availability(False, f"QEMU {session.version} has no calc-dirty-rate; 5.2 is the first")
        return Availability(True, "calc-dirty-rate works with every guest")

    def record(
        self,
        session: QmpSession,
        writer: TraceWriter,
        *,
        duration_s: float,
        progress: ProgressCallback,
        stop: StopCallback,
    ) -> None:
        """Measure every window in every mode, over and over, until the time is up.

        Raises
        ------
        QmpError
            A migration or a measurement is under way, QEMU refuses a requested mode, QEMU ends, or the guest runs
            under TCG in a QEMU before 8.2, which would crash.
        """
        refuse_while_busy(session)
        if writer.meta.accel == "tcg" and session.version < _TCG_SINCE:
            raise QmpError(
                f"The guest runs under TCG in QEMU {session.version}.",
                "QEMU 7.2 crashes, and its guest with it, when asked for the dirty rate of a TCG guest.",
                "Use the stream collector, or QEMU 8.2 or newer.",
            )
        meter = _Meter(session, writer.meta.vcpus)
        modes = self._modes(session, writer.meta.accel)
        windows = list(self._windows_s) or choose_windows_s(meter.milliseconds, duration_s)
        self._warm_up(meter, modes, windows[0], stop)
        began = time.monotonic()
        first_round = True
        while True:
            for window in windows:
                for mode in list(modes):
                    now = time.monotonic() - began
                    if stop() or (not first_round and now + window > duration_s):
                        return
                    progress(now, f"{mode}, {window:g} s window")
                    row = meter.measure(mode, window, now, stop)
                    if row is None and stop():
                        return
                    if row is None:
                        self._drop_mode(mode, modes)
                        continue
                    writer.add_windows([row])
            first_round = False
            if not modes or time.monotonic() - began + min(windows) > duration_s:
                return

    def _warm_up(self, meter: _Meter, modes: list[str], window_s: float, stop: StopCallback) -> None:
        """Measure once by the dirty bitmap and discard the result.

        The first measurement protects all memory, which takes long and is counted in the measured time.
        """
        if (
            "dirty-bitmap" in modes
            and meter.measure("dirty-bitmap", window_s, 0.0, stop) is None
            and not stop()
        ):
            self._drop_mode("dirty-bitmap", modes)

    def _modes(self, session: QmpSession, accel: str) -> list[str]:
        """Return the modes to try."""
        if session.version < _MODES_SINCE:
            return ["page-sampling"]
        modes = list(self._requested_modes or MODES)
        if accel == "tcg" and "dirty-bitmap" in modes:
            if self._refused_mode_is_error:
                raise QmpError(
                    "QEMU cannot measure a TCG guest in mode dirty-bitmap.",
                    "QEMU counts pages where it reads KVM's log; for a TCG guest it always answers 0.",
                    "Leave the mode out, or use the stream collector.",
                )
            modes.remove("dirty-bitmap")
        return modes

    def _drop_mode(self, mode: str, modes: list[str]) -> None:
        """Remove a mode that QEMU refused; raise an error where the user requested it."""
        if self._refused_mode_is_error:
            raise QmpError(
                f"QEMU refuses to measure in mode {mode}.",
                "dirty-ring needs a guest with -accel kvm,dirty-ring-size=N; dirty-bitmap needs one without.",
                "Leave the modes out: then all modes that work are used.",
            )
        modes.remove(mode)


class _Meter:
    """Runs single measurements and turns QEMU's answers into rows of the trace."""

    def __init__(self, session: QmpSession, vcpus: int) -> None:
        self.milliseconds = session.version >= MILLISECONDS_SINCE
        self._session = session
        self._with_mode = session.version >= _MODES_SINCE
        self._vcpus = vcpus
        self._sizes = [line.used_bytes for line in query_ram_blocks(session)]

    def measure(
        self, mode: str, window_s: float, start_s: float, stop: StopCallback
    ) -> dict[str, Any] | None:
        """Measure once; None where QEMU refuses the mode or `stop` returned true before the answer."""
        from migsim.qmp import QmpCommandError

        calc_time = round(window_s * 1000) if self.milliseconds else max(1, round(window_s))
        arguments: dict[str, Any] = {"calc-time": calc_time}
        if self.milliseconds:
            arguments["calc-time-unit"] = "millisecond"
        if self._with_mode:
            arguments["mode"] = mode
        if mode == "page-sampling":
            arguments["sample-pages"] = choose_sample_pages(sum(self._sizes), window_s)
        try:
            self._session.execute("calc-dirty-rate", arguments)
        except QmpCommandError as error:
            if "is not enabled" in error.description:
                return None
            raise
        answer = self._wait_for_answer(window_s, stop)
        samples = sum(
            size * arguments.get("sample-pages", 0) >> 30
            for size in self._sizes
            if size >= _SMALLEST_SAMPLED_BLOCK
        )
        return None if answer is None else self._row(mode, window_s, start_s, answer, samples)

    def _wait_for_answer(self, window_s: float, stop: StopCallback) -> dict[str, Any] | None:
        arguments = {"calc-time-unit": "millisecond"} if self.milliseconds else {}
        due = time.monotonic() + window_s
        while True:
            left = due - time.monotonic()
            if stop():
                return None
            if left < -_OVERDUE_S:
                raise QmpError(
                    f"QEMU has not finished a {window_s:g} s window after {window_s - left:.0f} s.",
                    "QEMU should answer when the window is over.",
                    "Check whether QEMU hangs.",
                )
            time.sleep(min(left, 0.2) if left > 0.02 else 0.01)
            if left > 0.02:
                continue
            answer: dict[str, Any] = self._session.execute("query-dirty-rate", arguments)
            if answer.get("status") == "measured":
                return answer

    def _row(
        self, mode: str, window_s: float, start_s: float, answer: dict[str, Any], samples: int
    ) -> dict[str, Any]:
        if "calc-time" not in answer:
            raise QmpError(
                f"QEMU says that a {window_s:g} s window is measured, and not how long it took.",
                "query-dirty-rate answers with calc-time, the length of the window.",
                "Check that the socket belongs to QEMU's QMP monitor.",
            )
        # QEMU 8.2 and newer report the time that passed in milliseconds, older ones in whole seconds.
        measured = float(answer["calc-time"]) / (1000 if self.milliseconds else 1)
        if measured > window_s + 2 * _OVERDUE_S:
            raise QmpError(
                f"QEMU says that a {window_s:g} s window took {measured:g} s.",
                f"A window is given up {_OVERDUE_S:g} s after it was due.",
                "Check that the socket belongs to QEMU's QMP monitor.",
            )
        measured = max(measured, window_s)
        rate = int(answer.get("dirty-rate", 0)) * _MIB
        if mode == "page-sampling":
            resolution = measured * _MIB
        else:
            # QEMU rounds the rate down, and before 8.2 the dirty memory too; with the ring, that of each vCPU.
            step = measured if self.milliseconds else measured + 1
            resolution = step * _MIB * (self._vcpus if mode == "dirty-ring" else 1)
        return {
            "mode": mode,
            "window_s": window_s,
            "start_s": start_s,
            "measured_s": measured,
            "dirty_bytes": round(max(rate, 0) * measured),
            "resolution_bytes": round(resolution),
            "sampled_pages": samples,
        }
