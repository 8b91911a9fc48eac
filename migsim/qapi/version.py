"""QEMU versions and ranges of versions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from migsim.errors import ParameterError

__all__ = ["NEWEST", "OLDEST", "QemuVersion", "VersionRange"]

_TEXT = re.compile(r"\s*v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:[\s(+~-].*)?", re.DOTALL)


@dataclass(frozen=True, order=True, slots=True)
class QemuVersion:
    """A QEMU version; versions can be compared.

    Examples
    --------
    >>> QemuVersion.parse("7.2.22 (Debian 1:7.2+dfsg-7)") < QemuVersion.parse("10.0")
    True
    >>> str(QemuVersion.parse("10.0"))
    '10.0'
    """

    major: int
    minor: int
    micro: int = 0

    @classmethod
    def parse(cls, text: str | QemuVersion) -> QemuVersion:
        """Parse ``"10.0"``, ``"7.2.22"`` or the longer version text of a distribution.

        Raises
        ------
        ParameterError
            The text does not start with a version.
        """
        if isinstance(text, QemuVersion):
            return text
        version = _parse(text) if isinstance(text, str) else None
        if version is None:
            raise ParameterError(
                f"The QEMU version is {text!r}.",
                "A version is two or three numbers with dots between them.",
                "Write it like '7.2' or '10.0.2', in quotes.",
            )
        return version

    @property
    def release(self) -> QemuVersion:
        """The version without its micro number, as it is in the tables."""
        return QemuVersion(self.major, self.minor)

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}"
        return f"{text}.{self.micro}" if self.micro else text


@lru_cache(maxsize=256)
def _parse(text: str) -> QemuVersion | None:
    match = _TEXT.fullmatch(text)
    return QemuVersion(int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


OLDEST = QemuVersion(1, 2)
"""The oldest release that the tables cover."""
NEWEST = QemuVersion(10, 2)
"""The newest release that the tables cover."""


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Releases from `since` up to and including `until`."""

    since: QemuVersion
    until: QemuVersion | None = None

    @classmethod
    def parse(cls, since: str, until: str = "") -> VersionRange:
        """Parse a range from the tables; with an empty `until` the range has no end."""
        return cls(QemuVersion.parse(since), QemuVersion.parse(until) if until else None)

    def __contains__(self, version: QemuVersion) -> bool:
        release = version.release
        return self.since <= release and (self.until is None or release <= self.until)

    def __str__(self) -> str:
        return f"{self.since} to {self.until}" if self.until else f"{self.since} and later"
