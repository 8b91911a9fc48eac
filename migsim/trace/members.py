"""The Parquet members of a trace: their columns, and reading and writing them."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "MEMBERS",
    "column_array",
    "expand_runs",
    "member_schema",
    "member_table",
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
_LATER = {"content": ("between_s", "after_sync_s")}
"""Columns that older traces lack: read as NaN."""

MEMBERS = tuple(_COLUMNS)


def member_schema(member: str, total_pages: int) -> pa.Schema:
    """Arrow schema of a member; page numbers take 32 bits where `total_pages` lets them."""
    import pyarrow as pa

    page = "uint32" if total_pages <= 1 << 32 else "uint64"
    return pa.schema(
        [
            (name, pa.type_for_alias(page if kind == "page" else kind))
            for name, kind in _COLUMNS[member].items()
        ]
    )


def member_table(member: str, total_pages: int, columns: dict[str, Any]) -> pa.Table:
    """Columns (arrays or scalars repeated to the longest) as the member's table."""
    import pyarrow as pa

    shape = member_schema(member, total_pages)
    length = max(np.size(value) for value in columns.values())
    arrays = []
    for name, kind in zip(shape.names, shape.types, strict=True):
        value = columns[name]
        if np.ndim(value) == 0:
            value = [value] * length
        arrays.append(pa.array(value).cast(kind) if len(value) else pa.array([], type=kind))
    return pa.Table.from_arrays(arrays, schema=shape)


def open_parquet_writer(target: str | IO[bytes], member: str, shape: pa.Schema) -> Any:
    """Open a Parquet writer as traces want it: zstd; DELTA_BINARY_PACKED integers; no dictionary.

    Page runs ascend within an interval, so deltas are small: this was the smallest encoding of those tried.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers = [f.name for f in shape if pa.types.is_integer(f.type)]
    return pq.ParquetWriter(
        target,
        shape,
        compression="zstd",
        use_dictionary=False,
        column_encoding={name: "DELTA_BINARY_PACKED" for name in integers},
        write_statistics=False,
        write_page_checksum=True,
    )


def read_member(source: Any, member: str, total_pages: int) -> pa.Table:
    """Read a member; raises what pyarrow raises, and ValueError where a column is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shape = member_schema(member, total_pages)
    with pq.ParquetFile(source, page_checksum_verification=True) as file:  # read_table loads far more
        found = file.read()
    for name in _LATER.get(member, ()):
        if name not in found.column_names:
            found = found.append_column(name, pa.array(np.full(found.num_rows, np.nan), type=pa.float32()))
    missing = set(shape.names) - set(found.column_names)
    if missing:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    found = found.select(shape.names)
    same = found.schema.equals(shape, check_metadata=True)
    return found if same else found.cast(shape)  # cast() loads pyarrow.compute


def column_array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column as an array, without what pyarrow's own conversion does: load pandas.

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
    """Page numbers, in any order and with repeats, as ascending runs (first page, length).

    Examples
    --------
    >>> [part.tolist() for part in page_runs([7, 3, 4, 5, 7])]
    [[3, 7], [3, 1]]
    """
    numbers = np.sort(np.asarray(pages, dtype=np.uint64))  # np.unique takes ten times as long
    if numbers.size == 0:
        return numbers, np.zeros(0, np.uint32)
    numbers = numbers[np.concatenate(([True], numbers[1:] != numbers[:-1]))]
    starts = np.flatnonzero(np.concatenate(([True], np.diff(numbers) != 1)))
    lengths = np.diff(np.append(starts, numbers.size))
    return numbers[starts], lengths.astype(np.uint32)


def expand_runs(first_page: npt.NDArray[Any], npages: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Undo `page_runs`.

    Examples
    --------
    >>> expand_runs(np.array([3, 7]), np.array([3, 1])).tolist()
    [3, 4, 5, 7]
    """
    lengths = np.asarray(npages, dtype=np.int64)
    before = np.cumsum(lengths) - lengths
    starts = np.asarray(first_page).astype(np.int64) - before
    return np.repeat(starts, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)
