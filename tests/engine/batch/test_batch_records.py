"""The batch engine's records: classes and structured types name the same fields, and every field is of use."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import migsim.engine
from migsim.engine.batch import cache, ram, records
from migsim.engine.batch.result import FIGURE_NAMES
from migsim.engine.channels import ChannelQueue, GuestLosses, StreamCounters
from migsim.engine.guest_clock import GuestSpeed
from migsim.engine.rounds import SyncRow
from migsim.engine.segments import Extent
from migsim.engine.throttling import SyncTimer

RECORDS: dict[type, np.dtype[Any]] = {
    records.Kind: records.KIND,
    records.Cell: records.CELL,
    records.State: records.STATE,
    records.SyncNote: records.SYNC_NOTE,
    records.Ended: records.ENDED,
    records.Reason: records.REASON,
    records.CellFigures: records.CELL_FIGURES,
    ram.Part: ram.PART,
    ram.Stretch: ram.STRETCH,
    Extent: ram.EXTENT,
    cache.Place: cache.PLACE,
    cache.Track: cache.TRACK,
    cache.Bin: cache.BIN,
    cache.Content: cache.CONTENT,
}
ENGINE = Path(migsim.engine.__file__).parent


def fields_of(record: type) -> set[str]:
    return set(get_type_hints(record))


def test_every_structured_type_has_its_class() -> None:
    types = [
        value
        for module in (records, ram, cache)
        for value in vars(module).values()
        if isinstance(value, np.dtype)
    ]
    assert {id(t) for t in types} == {id(t) for t in RECORDS.values()}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_class_and_structured_type_name_the_same_fields(record: type) -> None:
    structured, hints = RECORDS[record], get_type_hints(record)
    assert structured.names == tuple(hints)
    for name, kind in hints.items():
        assert structured[name] == np.dtype(float if kind is float else np.int64), name


def test_figures_come_in_the_order_of_their_names() -> None:
    assert records.CELL_FIGURES.names == FIGURE_NAMES


@pytest.mark.parametrize(
    ("record", "shared"),
    [
        (records.State, GuestSpeed),
        (records.State, SyncTimer),
        (records.State, StreamCounters),
        (records.State, ChannelQueue),
        (records.Cell, GuestLosses),
    ],
    ids=lambda thing: thing.__name__,
)
def test_shared_functions_find_their_fields(record: type, shared: type) -> None:
    assert fields_of(shared) <= fields_of(record)


def test_both_engines_note_the_same_counters_of_a_sync() -> None:
    assert fields_of(records.SyncNote) - {"begun"} <= fields_of(SyncRow)


def test_every_field_is_read_and_set() -> None:
    """A field that the loop and what it starts from do not read, or do not set, is left over."""
    read, written = set(), set()
    for path in [*ENGINE.glob("*.py"), *(ENGINE / "batch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                (written if isinstance(node.ctx, ast.Store) else read).add(node.attr)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
                read.add(node.target.attr)
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                read.add(node.slice.value)
            elif isinstance(node, ast.Constant):
                written.add(node.value)  # columns are filled by name
    written |= fields_of(Extent) | fields_of(GuestLosses)  # made as a whole
    read |= fields_of(records.CellFigures)  # read as a whole
    for record in RECORDS:
        assert not fields_of(record) - read, f"{record.__name__}: never read"
        assert not fields_of(record) - written, f"{record.__name__}: never set"
