"""The Parquet members of a trace: their columns, reading and writing them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from migsim.trace.parquet import THRIFT_ENTRIES, THRIFT_TEXT, check_parquet

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CHECKED_ROWS",
    "MEMBERS",
    "column_array",
    "empty_member",
    "expand_runs",
    "member_columns",
    "member_schema",
    "member_table",
    "member_tables",
    "open_parquet_writer",
    "page_runs",
    "read_member",
]

_COLUMNS: dict[str, dict[str, str]] = {
    "intervals": {
        "interval": "int32",
        "start_s": "float64",
        "end_s": "float64",
        "dirty_pages": "int64",
        "sent_pages": "int64",
        "zero_pages": "int64",
        "lost_events": "int64",
    },
    "runs": {"interval": "int32", "first_page": "page", "npages": "uint32"},
    "windows": {
        "mode": "string",
        "window_s": "float64",
        "start_s": "float64",
        "measured_s": "float64",
        "dirty_bytes": "int64",
        "resolution_bytes": "int64",
        "sampled_pages": "int64",
    },
    "events": {"interval": "int32", "time_us": "int64", "page": "page", "vcpu": "int32"},
    "content": {
        "interval": "int32",
        "page": "page",
        "changed_bytes": "int32",
        "runs": "int32",
        "xbzrle_bytes": "int32",
        "between_s": "float32",
        "after_sync_s": "float32",
    },
}
_OPTIONAL_COLUMNS = {"content": ("between_s", "after_sync_s")}
"""Columns that older traces lack; a missing one is read as NaN."""

_PAGE_COLUMNS = ("first_page", "page")
"""Columns of page numbers: 32 or 64 bits."""

CHECKED_ROWS = 1 << 16
"""Rows that are held at a time while a member is checked."""

_ROW_GROUP = 1 << 20

MEMBERS = tuple(_COLUMNS)


def member_schema(member: str, total_pages: int) -> pa.Schema:
    """Return the Arrow schema of a member; page numbers have 32 bits where `total_pages` fits into them."""
    import pyarrow as pa

    page = "uint32" if total_pages <= 1 << 32 else "uint64"
    return pa.schema(
        [
            (name, pa.type_for_alias(page if kind == "page" else kind))
            for name, kind in _COLUMNS[member].items()
        ]
    )


def member_table(member: str, total_pages: int, columns: dict[str, Any]) -> pa.Table:
    """Make a member's table from its columns; a scalar is repeated to the length of the longest column."""
    import pyarrow as pa

    table_schema = member_schema(member, total_pages)
    length = max(np.size(value) for value in columns.values())
    arrays = []
    for name, kind in zip(table_schema.names, table_schema.types, strict=True):
        value = columns[name]
        if np.ndim(value) == 0:
            value = [value] * length
        arrays.append(pa.array(value).cast(kind) if len(value) else pa.array([], type=kind))
    return pa.Table.from_arrays(arrays, schema=table_schema)


def open_parquet_writer(target: str | IO[bytes], table_schema: pa.Schema) -> Any:
    """Open a Parquet writer with the encoding of traces: zstd, integers DELTA_BINARY_PACKED, no dictionary.

    Page numbers ascend within an interval, so the differences that DELTA_BINARY_PACKED stores are small: of the
    encodings tried, this one gave the smallest files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers = [column.name for column in table_schema if pa.types.is_integer(column.type)]
    return pq.ParquetWriter(
        target,
        table_schema,
        compression="zstd",
        use_dictionary=False,
        column_encoding={name: "DELTA_BINARY_PACKED" for name in integers},
        write_statistics=False,
        write_page_checksum=True,
    )


def read_member(data: bytes, member: str, total_pages: int) -> pa.Table:
    """Read a member whole; raises as `member_tables` does."""
    import pyarrow as pa

    tables = member_tables(data, member, total_pages, rows=_ROW_GROUP)
    return pa.concat_tables([empty_member(member, total_pages), *tables])


def empty_member(member: str, total_pages: int) -> pa.Table:
    """Return a member's table without rows."""
    import pyarrow as pa

    # Schema.empty_table() would import pandas
    return pa.Table.from_batches([], schema=member_schema(member, total_pages))


def member_tables(
    data: bytes, member: str, total_pages: int, *, rows: int = CHECKED_ROWS
) -> Iterator[pa.Table]:
    """Yield a member's rows, some at a time, after `migsim.trace.parquet` has checked what it claims.

    Raises
    ------
    ValueError
        A column is missing or of another type, a value is missing, or the member claims too much.
    pyarrow.ArrowException, OSError
        It is no whole Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_parquet(data)
    table_schema = member_schema(member, total_pages)
    # pyarrow.parquet.read_table would import many more modules
    with pq.ParquetFile(
        pa.BufferReader(data),
        pre_buffer=False,
        page_checksum_verification=True,
        thrift_string_size_limit=THRIFT_TEXT,
        thrift_container_size_limit=THRIFT_ENTRIES,
    ) as file:
        _check_columns(file.schema_arrow, table_schema, _OPTIONAL_COLUMNS.get(member, ()))
        for batch in file.iter_batches(rows, use_threads=False):
            yield _conformed(pa.Table.from_batches([batch]), member, table_schema)


def _check_columns(held: pa.Schema, wanted: pa.Schema, optional: tuple[str, ...]) -> None:
    import pyarrow as pa

    pages = {pa.uint32(), pa.uint64()}
    missing = set(wanted.names) - set(held.names) - set(optional)
    if missing:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if len(set(held.names)) != len(held.names) or set(held.names) - set(wanted.names):
        raise ValueError(f"its columns are {', '.join(held.names)}")
    for column in held:
        kind = wanted.field(column.name).type
        if column.type != kind and not (column.name in _PAGE_COLUMNS and {column.type, kind} <= pages):
            raise ValueError(f"its column {column.name} is of type {column.type}, not {kind}")


def _conformed(table: pa.Table, member: str, table_schema: pa.Schema) -> pa.Table:
    """Return a row group with all columns in order; a missing value is damage."""
    import pyarrow as pa

    for name in _OPTIONAL_COLUMNS.get(member, ()):
        if name not in table.column_names:
            unknown = pa.py_buffer(np.full(table.num_rows, np.nan, np.float32))
            # pyarrow.array() would import pandas
            column = pa.Array.from_buffers(pa.float32(), table.num_rows, [None, unknown])
            table = table.append_column(name, column)
    table = table.select(table_schema.names)
    lacking = [name for name in table.column_names if table[name].null_count]
    if lacking:
        raise ValueError(f"{lacking[0]} has missing values")
    same = table.schema.equals(table_schema, check_metadata=True)
    return table if same else table.cast(table_schema)  # cast() imports pyarrow.compute, so only where needed


def member_columns(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    """Return a table's columns as arrays by name."""
    return {name: column_array(table[name]) for name in table.column_names}


def column_array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column as an array; unlike pyarrow's own conversion, this does not import pandas.

    Examples
    --------
    >>> import pyarrow as pa
    >>> column_array(pa.chunked_array([[1, 2], [3]])).tolist()
    [1, 2, 3]
    """
    import pyarrow as pa

    if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.array(column.to_pylist(), dtype=object)
    kind = np.dtype({"double": "float64", "float": "float32"}.get(str(column.type), str(column.type)))
    parts = [
        np.frombuffer(chunk.buffers()[1], kind, len(chunk), chunk.offset * kind.itemsize)
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def page_runs(pages: npt.ArrayLike) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """Turn page numbers, in any order and with repeats, into ascending runs (first page, length).

    Examples
    --------
    >>> [part.tolist() for part in page_runs([7, 3, 4, 5, 7])]
    [[3, 7], [3, 1]]
    """
    numbers = np.sort(np.asarray(pages, dtype=np.uint64))  # with np.unique this takes ten times as long
    if numbers.size == 0:
        return numbers, np.zeros(0, np.uint32)
    numbers = numbers[np.concatenate(([True], numbers[1:] != numbers[:-1]))]
    starts = np.flatnonzero(np.concatenate(([True], np.diff(numbers) != 1)))
    lengths = np.diff(np.append(starts, numbers.size))
    return numbers[starts], lengths.astype(np.uint32)


def expand_runs(first_page: npt.NDArray[Any], npages: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Turn runs back into page numbers: the inverse of `page_runs`.

    Examples
    --------
    >>> expand_runs(np.array([3, 7]), np.array([3, 1])).tolist()
    [3, 4, 5, 7]
    """
    lengths = np.asarray(npages, dtype=np.int64)
    before = np.cumsum(lengths) - lengths
    starts = np.asarray(first_page).astype(np.int64) - before
    return np.repeat(starts, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)
