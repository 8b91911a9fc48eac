"""The workload: a guest's writes as calibration fits them, in classes of pages with one rate each."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from migsim.documents import Bytes, Declared, RecordedModel
from migsim.html import html_list, html_table
from migsim.units import PAGE_BYTES, format_bytes

__all__ = ["LAID_OUT", "PageContent", "Workload", "WorkloadClass"]

LAID_OUT = "The workload does not say where all its pages lie: such classes are laid one after the other from page 0."
"""What `Workload.laid_out` assumes."""

_LARGEST_RAM = 1 << 46  # 64 TiB
_MOST_PAGES = 2 * _LARGEST_RAM // PAGE_BYTES
_MOST_WRITES = 1e12  # to one page in a second
_LARGEST_SPREAD = 5.0
_MOST_DRAWS = 4096
_Factor = Annotated[float, Field(gt=0, le=1e6)]
_Deviation = Annotated[float, Field(ge=0, le=_LARGEST_SPREAD)]


class PageContent(Declared):
    """What a write does to the contents of its page.

    Attributes
    ----------
    bytes_a_write : int
        Bytes that one write fills.
    places : int
        Number of offsets at which a write may begin, evenly spaced over the page; a power of two.
    same_fraction : float
        Chance that a written byte has its old value.
    in_order : bool
        Whether a write to a page begins at the place after that of the last write, or at a random one.
    whole_fraction : float
        Share of the written pages whose whole contents are replaced.
    """

    bytes_a_write: int = Field(ge=1, le=PAGE_BYTES)
    places: int = Field(default=512, ge=1, le=PAGE_BYTES)
    same_fraction: float = Field(default=1 / 256, ge=0, lt=1)
    in_order: bool = False
    whole_fraction: float = Field(default=0.0, ge=0, le=1)

    @field_validator("places")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("Places are a power of two.")
        return value


class WorkloadClass(Declared):
    """Pages that are written at one rate and in one pattern.

    Attributes
    ----------
    pages : int
        Number of pages.
    writes_per_page_per_s : float
        Writes to each page in a second of guest time.
    pattern : {"random", "sweep"}
        Each page is written independently of the others, or all in turn.
    extents : tuple of (first_page, pages)
        Where the pages lie, in global page numbers; empty where unknown: see `Workload.laid_out`.
    content : PageContent, optional
        What a write does to its page's contents; None where unknown.
    """

    pages: int = Field(gt=0, le=_MOST_PAGES)
    writes_per_page_per_s: float = Field(ge=0, le=_MOST_WRITES)
    pattern: Literal["random", "sweep"] = "random"
    extents: tuple[tuple[int, int], ...] = ()
    content: PageContent | None = None

    @field_validator("extents")
    @classmethod
    def _ordered(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return _ascending(value)

    @model_validator(mode="after")
    def _room(self) -> WorkloadClass:
        held = sum(count for _, count in self.extents)
        if self.extents and self.pages != held:  # the engines write to all pages of the extents
            raise ValueError(f"The extents hold {held} pages, the class has {self.pages}.")
        return self

    @property
    def writes_per_s(self) -> float:
        """Writes to all pages of the class in a second of guest time."""
        return self.pages * self.writes_per_page_per_s


class Workload(RecordedModel):
    """A guest's writes, fitted to a trace.

    Attributes
    ----------
    ram_bytes : int
        The guest's memory.
    ram_total_bytes : int
        All migrated memory (``ram.total``), video memory and ROMs included.
    zero_pages : int
        Pages that are zero when the migration starts.
    zero_extents : tuple of (first_page, pages)
        Where they lie, in global page numbers; empty where unknown: they then lie in all gaps between the classes.
    classes : tuple of WorkloadClass
        The fitted classes.
    load_fraction : float
        Share of its full speed that the guest needs for its work. With 1 the guest is a closed loop and loses the work
        that throttling prevents. With less its work comes by the clock: only a lower speed delays it, and the guest
        catches up later.
    writes_spread : float
        Standard deviation of the natural logarithm of the guest's mean write rate, from one migration to the next.
    wandering : tuple of float
        Deviations of the logarithm of its write rate about that mean, within a migration: of the processes with the
        time constants `migsim.models.guest.activity.TIMES_S`, 0.1 s, 1 s and 10 s.
    rate_factors : tuple of tuple of float
        Draws of factors on the classes' rates, all of which the trace allows, a factor for each class; empty where
        the rates are taken as they are.
    assumptions : tuple of str
        What the fit assumes, a sentence each.
    source : str
        Description of the trace.
    """

    _format: ClassVar[str] = "migsim-workload"
    _what: ClassVar[str] = "The workload"

    ram_bytes: Bytes = Field(gt=0, le=_LARGEST_RAM)
    ram_total_bytes: Bytes = Field(gt=0, le=2 * _LARGEST_RAM)
    zero_pages: int = Field(ge=0)
    zero_extents: tuple[tuple[int, int], ...] = ()
    classes: tuple[WorkloadClass, ...] = ()
    load_fraction: float = Field(default=1.0, gt=0, le=1)
    writes_spread: float = Field(default=0.0, ge=0, le=_LARGEST_SPREAD)
    wandering: tuple[_Deviation, _Deviation, _Deviation] = (0.0, 0.0, 0.0)
    rate_factors: tuple[tuple[_Factor, ...], ...] = Field(default=(), max_length=_MOST_DRAWS)
    assumptions: tuple[str, ...] = ()
    source: str = ""

    @field_validator("zero_extents")
    @classmethod
    def _ordered(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return _ascending(value)

    @model_validator(mode="after")
    def _fits(self) -> Workload:
        if self.ram_total_bytes < self.ram_bytes:
            raise ValueError("ram-total-bytes counts the guest's memory too; it cannot be below ram-bytes.")
        pages = self.ram_total_bytes // PAGE_BYTES
        if self.zero_pages > pages:
            raise ValueError(f"zero-pages is more than the {pages} pages of ram-total-bytes.")
        held = sum(count for _, count in self.zero_extents)
        if self.zero_extents and held != self.zero_pages:
            raise ValueError(f"zero-extents hold {held} pages, zero-pages says {self.zero_pages}.")
        if self.zero_extents and sum(self.zero_extents[-1]) > pages:
            raise ValueError(f"zero-extents go beyond the {pages} pages of ram-total-bytes.")
        if sum(c.pages for c in self.classes) > pages:
            raise ValueError(f"The classes have more than the {pages} pages of ram-total-bytes.")
        if any(len(factors) != len(self.classes) for factors in self.rate_factors):
            raise ValueError(
                f"Each draw of rate-factors has one factor for each of the {len(self.classes)} classes."
            )
        # a fit lays pages that were never written behind the written ones, beyond RAM where those reach its end
        if any(sum(c.extents[-1]) > 2 * pages for c in self.classes if c.extents):
            raise ValueError(f"The extents go far beyond the {pages} pages of ram-total-bytes.")
        return self

    @property
    def writes_per_s(self) -> float:
        """Writes of all classes in a second of guest time."""
        return sum(c.writes_per_s for c in self.classes)

    def _repr_html_(self) -> str:
        rows = [
            (
                f"{c.pages:,}",
                f"{c.writes_per_page_per_s:.3g}",
                c.pattern,
                f"{c.pages * PAGE_BYTES / 2**20:.4g}",
            )
            for c in self.classes
        ]
        caption = (
            f"{format_bytes(self.ram_bytes)} guest, {self.zero_pages:,} zero pages, {self.writes_per_s:,.0f} writes "
            f"a second (spread {self.writes_spread:.1%})"
        )
        table = html_table(caption, ("pages", "writes per page per s", "pattern", "MiB"), rows)
        return f"<div>{table}{html_list('Assumed', self.assumptions)}</div>"

    def laid_out(self) -> Workload:
        """Return a copy in which every class has its place, with the assumption that this takes.

        Classes without extents are laid one after the other, where no other class lies: from page 0 on, as the fit of
        a trace without page numbers lays them.

        Examples
        --------
        >>> placed = WorkloadClass(pages=10, writes_per_page_per_s=2.0, extents=((5, 10),))
        >>> anywhere = WorkloadClass(pages=8, writes_per_page_per_s=0.0)
        >>> guest = Workload(ram_bytes=2**30, ram_total_bytes=2**30, zero_pages=0, classes=(placed, anywhere))
        >>> [c.extents for c in guest.laid_out().classes]
        [((5, 10),), ((0, 5), (15, 3))]
        """
        if all(c.extents for c in self.classes):
            return self
        placed = [*self.zero_extents, *(e for c in self.classes for e in c.extents)]
        gaps = _gaps(placed, self.ram_total_bytes // PAGE_BYTES)
        classes = tuple(c if c.extents else c.replace(extents=_taken(gaps, c.pages)) for c in self.classes)
        return self.replace(classes=classes, assumptions=(*self.assumptions, LAID_OUT))

    def with_rates(self, draw: int) -> Workload:
        """Return a copy with the rates of one of the draws; the draws are numbered in a circle.

        Examples
        --------
        >>> hot = WorkloadClass(pages=10, writes_per_page_per_s=2.0)
        >>> guest = Workload(
        ...     ram_bytes=2**30, ram_total_bytes=2**30, zero_pages=0, classes=(hot,), rate_factors=((0.5,), (2.0,))
        ... )
        >>> guest.with_rates(3).writes_per_s
        40.0
        """
        if not self.rate_factors:
            return self
        factors = self.rate_factors[draw % len(self.rate_factors)]
        rates = tuple(
            c.replace(writes_per_page_per_s=c.writes_per_page_per_s * factor)
            for c, factor in zip(self.classes, factors, strict=True)
        )
        return self.replace(classes=rates, rate_factors=())

    def scaled(self, factor: float) -> Workload:
        """Return a copy with every write rate multiplied by `factor`.

        Examples
        --------
        >>> hot = WorkloadClass(pages=10, writes_per_page_per_s=2.0)
        >>> guest = Workload(ram_bytes=2**30, ram_total_bytes=2**30, zero_pages=0, classes=(hot,))
        >>> guest.scaled(0.5).writes_per_s
        10.0
        """
        rates = tuple(c.replace(writes_per_page_per_s=c.writes_per_page_per_s * factor) for c in self.classes)
        return self.replace(classes=rates)


def _ascending(extents: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Return extents as they are; raise where they are not in order."""
    end = 0
    for first, count in extents:
        if count <= 0 or first < end:
            raise ValueError("Extents are (first page, pages), ascending, not empty and not overlapping.")
        end = first + count
    return extents


def _gaps(extents: list[tuple[int, int]], pages: int) -> list[tuple[int, int]]:
    """Return the (first page, pages) between extents, in address order."""
    gaps, end = [], 0
    for first, count in sorted(extents):
        if first > end:
            gaps.append((end, first - end))
        end = max(end, first + count)
    return [*gaps, (end, pages - end)] if pages > end else gaps


def _taken(gaps: list[tuple[int, int]], pages: int) -> tuple[tuple[int, int], ...]:
    """Take pages off the front of the gaps; what finds no room there overlaps other classes, from page 0 on."""
    taken: list[tuple[int, int]] = []
    while pages and gaps:
        first, room = gaps.pop(0)
        count = min(room, pages)
        taken.append((first, count))
        pages -= count
        if room > count:
            gaps.insert(0, (first + count, room - count))
    return tuple(taken) if not pages else ((0, pages + sum(count for _, count in taken)),)
