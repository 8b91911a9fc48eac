"""What a Parquet file claims, checked before a value is read: a small file may claim to hold any number of rows.

A column's chunk is made of pages; each page's header says how many bytes it has, compressed and not. The headers are
read here, as Parquet libraries allocate what they claim.
"""

from __future__ import annotations

from typing import Any

__all__ = ["THRIFT_ENTRIES", "THRIFT_TEXT", "check_parquet"]

THRIFT_TEXT = 1 << 20
"""Bytes of the longest text in a file's footer."""
THRIFT_ENTRIES = 10_000
"""Entries of the longest list in a file's footer: row groups, columns."""

_FREE_BYTES = 64 << 20
_BYTES_OF_A_BYTE = 128
"""A column may become this many times as large as it is in the file, beyond `_FREE_BYTES` for all of them together."""
_VALUE_BYTES = 32  # a number has 8; a text, such as the mode of a window, has its length besides
_PAGE_BYTES = 1 << 16  # what a page may have beside its values
_COMPRESSIONS = ("ZSTD", "SNAPPY", "UNCOMPRESSED")


def check_parquet(metadata: Any, data: bytes) -> None:
    """Raise ValueError where a Parquet file claims more than `data`, its bytes, can hold.

    Parameters
    ----------
    metadata : pyarrow.parquet.FileMetaData
    data : bytes
    """
    rows = claimed = 0
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        if group.num_rows < 0:
            raise ValueError(f"it claims {group.num_rows} rows")
        rows += group.num_rows
        for chunk in (group.column(i) for i in range(group.num_columns)):
            claimed += _checked_bytes(chunk, group.num_rows, data)
    if rows != metadata.num_rows:
        raise ValueError(f"it claims {metadata.num_rows} rows, its row groups {rows}")
    claimed = max(claimed, 8 * rows * metadata.num_columns)
    if claimed > _FREE_BYTES + _BYTES_OF_A_BYTE * len(data):
        raise ValueError(f"it claims {rows} rows in {len(data)} bytes")


def _checked_bytes(chunk: Any, rows: int, data: bytes) -> int:
    """Return the bytes that the pages of a column's chunk become."""
    if chunk.num_values != rows:
        raise ValueError(f"a column claims {chunk.num_values} values in {rows} rows")
    if chunk.compression not in _COMPRESSIONS:
        raise ValueError(f"a column is compressed with {chunk.compression}")
    begin = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    end = begin + chunk.total_compressed_size
    if not 4 <= begin <= end <= len(data):
        raise ValueError("a column lies outside the file")
    room = _VALUE_BYTES * rows + _PAGE_BYTES
    if chunk.total_uncompressed_size > room:
        raise ValueError(f"a column claims {chunk.total_uncompressed_size} bytes for {rows} values")
    total = 0
    while begin < end:
        header = _ThriftReader(data, begin, end)
        fields = header.structure()
        whole, packed = fields.get(2, -1), fields.get(3, -1)
        if whole < 0 or packed < 0 or header.at + packed > end:
            raise ValueError("a page lies outside its column")
        total += whole
        if total > room:
            raise ValueError(f"the pages of a column claim {total} bytes for {rows} values")
        begin = header.at + packed
    return total


class _ThriftReader:
    """Reads a structure in Thrift's compact protocol: its integers by field number; the rest is passed over."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def structure(self, depth: int = 0) -> dict[int, int]:
        """Return the integer fields of the structure at `at`, and move behind it."""
        if depth > 8:
            raise ValueError("a page's header nests too deeply")
        fields: dict[int, int] = {}
        number = 0
        while (head := self._byte()) != 0:
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._integer()
            if kind in (4, 5, 6):
                fields[number] = self._integer()
            else:
                self._pass_over(kind, depth)
        return fields

    def _byte(self) -> int:
        if self.at >= self.end:
            raise ValueError("a page's header is cut off")
        self.at += 1
        return self.data[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a page's header holds a number beyond 64 bits")
        return value | byte << shift

    def _integer(self) -> int:
        value = self._unsigned()
        return -(value >> 1) - 1 if value & 1 else value >> 1

    def _pass_over(self, kind: int, depth: int) -> None:
        if kind in (1, 2):  # true, false: the value is the kind
            return
        if kind == 3:
            self._byte()
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            length = self._unsigned()
            self.at += length
        elif kind == 12:
            self.structure(depth + 1)
        else:
            raise ValueError(f"a page's header holds a field of kind {kind}")
