"""`nearest_settings`: for a migration that does not converge, the nearest settings with which it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migsim.engine.batch.columns import compiles
from migsim.errors import ParameterError
from migsim.study.basis import fastest_bytes_per_s
from migsim.study.question import Question
from migsim.study.size.search import size
from migsim.units import format_duration_s, format_value

if TYPE_CHECKING:
    from migsim.study.predict import Prediction

__all__ = ["NearestSettings", "nearest_settings"]

ENOUGH = 0.8
"""Share of the draws that complete with a setting that is named."""
LONGEST_LIMIT_MS = 60_000
"""The longest downtime limit that is looked at."""


@dataclass(frozen=True)
class NearestSettings:
    """Settings of which each alone lets a migration converge.

    Attributes
    ----------
    max_bandwidth_bytes_per_s : float or None
        The least max-bandwidth; None where none up to the link's, or to what the host sends, suffices.
    downtime_limit_ms : float or None
        The least downtime-limit, of at most a minute.
    auto_converge : dict or None
        Medians with auto-converge on, where it completes.
    searched : bool
        False where the search would take long: XBZRLE, dirty-limit.
    """

    max_bandwidth_bytes_per_s: float | None = None
    downtime_limit_ms: float | None = None
    auto_converge: dict[str, float] | None = None
    searched: bool = True

    def to_json_object(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return {
            "searched": self.searched,
            "max-bandwidth": self.max_bandwidth_bytes_per_s,
            "downtime-limit": self.downtime_limit_ms,
            "auto-converge": self.auto_converge,
        }

    def __str__(self) -> str:
        if not self.searched:
            return "`migsim size ... --require outcome=completed` searches a setting with which it converges."
        found = []
        if self.max_bandwidth_bytes_per_s is not None:
            found.append(f"max-bandwidth of {format_value(self.max_bandwidth_bytes_per_s, 'bytes/s')}")
        if self.downtime_limit_ms is not None:
            found.append(f"downtime-limit of {format_value(self.downtime_limit_ms, 'ms')}")
        if self.auto_converge is not None:
            lost = format_duration_s(self.auto_converge["guest-lost"] / 1000)
            found.append(f"auto-converge (the guest loses {lost})")
        if not found:
            return (
                "Neither a larger max-bandwidth, nor a downtime-limit of up to "
                f"{format_value(LONGEST_LIMIT_MS, 'ms')}, nor auto-converge lets it converge."
            )
        return f"It converges with {', or '.join(found)}."


def nearest_settings(prediction: Prediction) -> NearestSettings:
    """Find the nearest settings with which a migration converges that is predicted not to.

    Each is searched alone (`migsim.size`), in the other settings of the question: the least max-bandwidth above the
    question's, the least downtime-limit, and auto-converge. Each suffices for `ENOUGH` of the draws.

    Raises
    ------
    TraceError, ProfileError, ParameterError
    """
    question = prediction.question
    if question is None or not _is_quick(question):
        return NearestSettings(searched=False)
    given = question.settings.effective(question.qemu_version)
    bandwidth, limit = given.get("max-bandwidth") or 0, given["downtime-limit"]
    fastest = min(question.link_bytes_per_s or float("inf"), 1.05 * fastest_bytes_per_s(question.host), 1e11)
    return NearestSettings(
        max_bandwidth_bytes_per_s=_least(question, "max-bandwidth", bandwidth, fastest, "B/s")
        if bandwidth
        else None,
        downtime_limit_ms=_least(question, "downtime-limit", limit, LONGEST_LIMIT_MS, "ms"),
        auto_converge=_with_auto_converge(question) if prediction.medians["round"] > 0 else None,
    )


def _is_quick(question: Question) -> bool:
    slow = question.has_capability("xbzrle") or question.has_capability("dirty-limit")
    return not slow and compiles(question.migration())


def _least(question: Question, name: str, low: float, high: float, unit: str) -> float | None:
    if not low < high:
        return None
    sizing = size(
        _without(question, name),
        require="outcome=completed",
        minimise=f"{name}={int(low)}{unit}:{int(high)}{unit}:log",
        confidence=ENOUGH,
    )
    return sizing.value


def _with_auto_converge(question: Question) -> dict[str, float] | None:
    """Return the medians with auto-converge on; None where it is on, cannot be, or does not suffice."""
    if question.has_capability("auto-converge"):
        return None
    from migsim.study.predict import predict

    try:
        throttled = question.replace(
            settings={**question.settings.parameters, **question.settings.capabilities, "auto-converge": True}
        )
        throttled.check()
    except ParameterError:  # this release has none, or other capabilities forbid it
        return None
    answer = predict(throttled)
    if answer.completed_fraction < ENOUGH:
        return None
    return {name: value for name, value in answer.medians.items() if value == value}


def _without(question: Question, name: str) -> Question:
    settings = {**question.settings.parameters, **question.settings.capabilities}
    settings.pop(name, None)
    return question.replace(settings=settings)
