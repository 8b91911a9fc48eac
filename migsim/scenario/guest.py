"""The guest of a lab scenario: its machine, and the workload of our guest or of a Linux guest."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from migsim.documents import Bytes, Declared, Seconds
from migsim.units import PAGE_BYTES

__all__ = ["GuestSpec", "GuestWorkload", "LinuxWorkload", "PageClass"]

_LINUX_LEAST_BYTES = 512 << 20


class PageClass(Declared):
    """A range of pages that is written in one way.

    Attributes
    ----------
    base_page, pages : int
        The range, in 4 KiB pages of the guest's workload area.
    share : float
        Weight of the class among all writes, relative to the shares of the other classes.
    pattern : {"random", "sweep", "zipf"}
        Which page is written next: a random one, the following one, or a random one by popularity (Zipf's law).
    zipf_exponent : float
        Exponent of Zipf's law, with ``pattern = "zipf"``.
    content : {"bytes", "page", "zero"}
        What a write does: changes `changed_bytes` bytes, replaces the page by random data, or clears it.
    """

    base_page: int = Field(ge=0)
    pages: int = Field(gt=0)
    share: float = Field(default=1.0, gt=0)
    pattern: Literal["random", "sweep", "zipf"] = "random"
    zipf_exponent: float = Field(default=1.0, gt=0, le=8)
    content: Literal["bytes", "page", "zero"] = "bytes"
    changed_bytes: int = Field(default=8, ge=1, le=PAGE_BYTES)


class GuestWorkload(Declared):
    """The workload of our own guest.

    Attributes
    ----------
    touched_pages : int
        Number of pages, from the first on, that are written once before the guest is ready.
    fill : {"word", "page"}
        Whether such a page gets one word of data, or data all over.
    classes : tuple of PageClass
        Without any the guest fills its memory and then idles.
    pace : {"closed", "clock"}
        ``closed``: writes as fast as it can, so that a throttled guest writes less. ``clock``: `writes_per_s` by the
        clock, late writes are caught up.
    work : int
        Turns of an empty loop after each write: a guest that computes besides writing.
    check : bool
        Whether the guest keeps checksums of its pages and compares them all the time.
    report_s : float
        Time between two progress lines on the serial port.
    seed : int
        Seed of the guest's random generator.
    """

    touched_pages: int = Field(default=0, ge=0)
    fill: Literal["word", "page"] = "word"
    classes: tuple[PageClass, ...] = Field(default=(), max_length=16)
    pace: Literal["closed", "clock"] = "closed"
    writes_per_s: float | None = Field(default=None, gt=0)
    work: int = Field(default=0, ge=0, lt=2**31)
    check: bool = False
    report_s: Seconds = Field(default=1.0, gt=0)
    seed: int = Field(default=1, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> GuestWorkload:
        if self.pace == "clock" and self.writes_per_s is None:
            raise ValueError('pace = "clock" needs writes-per-s.')
        if self.pace == "closed" and self.writes_per_s is not None:
            raise ValueError('pace = "closed" writes as fast as it can; leave writes-per-s out.')
        return self

    @property
    def highest_page(self) -> int:
        """Page number after the last page that the workload writes."""
        return max([self.touched_pages, *(c.base_page + c.pages for c in self.classes)])


class LinuxWorkload(Declared):
    """The workload of a Linux guest, which then takes the place of our own.

    Attributes
    ----------
    workload : {"order-entry", "store", "idle"}
        PostgreSQL under the five order-entry transactions, an in-memory store, or nothing.
    users : int
        Users in a closed loop: each thinks, asks for a transaction, and waits for the answer.
    think_s : float
        Mean think time of a user, whole milliseconds.
    shared_buffers_percent : int
        Size of the database's buffers, or of the store's data, in percent of the guest's RAM.
    report_s : float
        Time between two lines of counters on the second serial port, whole milliseconds.
    seed : int
        Seed of the users' choices.
    """

    workload: Literal["order-entry", "store", "idle"] = "order-entry"
    users: int = Field(default=75, ge=1, le=400)
    think_s: Seconds = Field(default=1.0, ge=0, le=600)
    shared_buffers_percent: int = Field(default=40, ge=5, le=60)
    report_s: Seconds = Field(default=1.0, ge=0.05, le=60)
    seed: int = Field(default=1, ge=0, lt=2**31)

    @field_validator("think_s", "report_s")
    @classmethod
    def _whole_ms(cls, value: float) -> float:
        if abs(value * 1000 - round(value * 1000)) > 1e-6:
            raise ValueError("The guest is told its times in whole milliseconds.")
        return value


class GuestSpec(Declared):
    """The guest machine and its workload.

    Attributes
    ----------
    ram_bytes : int
        Size of the memory, a whole number of MiB.
    memory : {"plain", "aliased"}
        Ordinary memory, or several views of the same `alias_bytes` of host memory.
    vcpus : int
        Virtual processors.
    workload : GuestWorkload
        Workload of our own guest.
    linux : LinuxWorkload or None
        Workload of a Linux guest; `workload` is then left out.
    """

    ram_bytes: Bytes = Field(gt=0, le=2**40)
    memory: Literal["plain", "aliased"] = "plain"
    alias_bytes: Bytes | None = None
    vcpus: int = Field(default=1, ge=1, le=255)
    workload: GuestWorkload = GuestWorkload()
    linux: LinuxWorkload | None = None

    @field_validator("ram_bytes", "alias_bytes")
    @classmethod
    def _whole_mib(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and (value <= 0 or value % 2**20):
            raise ValueError("QEMU's memory sizes are whole MiB here.")
        return value

    @model_validator(mode="after")
    def _fits(self) -> GuestSpec:
        if (self.memory == "aliased") != (self.alias_bytes is not None):
            raise ValueError('alias-bytes goes with memory = "aliased", and that with alias-bytes.')
        if self.alias_bytes is not None and self.ram_bytes % self.alias_bytes:
            raise ValueError("ram-bytes has to be a whole multiple of alias-bytes.")
        if self.workload.highest_page * PAGE_BYTES > self.ram_bytes:
            raise ValueError(
                f"The workload reaches page {self.workload.highest_page}, but ram-bytes holds "
                f"{self.ram_bytes // PAGE_BYTES} pages."
            )
        return self

    @model_validator(mode="after")
    def _linux_alone(self) -> GuestSpec:
        if self.linux is None:
            return self
        if self.workload != GuestWorkload():
            raise ValueError("The guest is our own (workload) or Linux (linux), not both: leave one out.")
        if self.memory == "aliased":
            raise ValueError('Linux needs memory of its own: memory = "aliased" goes with our guest only.')
        if self.ram_bytes < _LINUX_LEAST_BYTES:
            raise ValueError("A Linux guest with its database needs ram-bytes of 512 MiB or more.")
        return self

    @model_serializer(mode="wrap")
    def _without_other_guest(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if self.linux is not None:
            data.pop("workload", None)
        return data
