"""What a Parquet file claims, checked before a value is read: a small file may claim to hold any number of rows.

A column's chunk is made of pages; each page's header says how many bytes it has, compressed and not. Footer and headers
are read here: Parquet libraries allocate what they claim, and end the process where a footer contradicts itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
_COMPRESSIONS = (0, 1, 6)  # none, snappy, zstd
_LARGEST_FOOTER = 1 << 22
_HISTOGRAMS = 16  # the field of a column's sizes and histograms


class _Chunk(NamedTuple):
    """What a footer says of a column's chunk in a row group."""

    values: int
    compression: int
    begin: int
    packed_bytes: int
    bytes: int


def check_parquet(data: bytes) -> None:
    """Raise ValueError where a Parquet file, `data`, claims more than its bytes can hold."""
    length = int.from_bytes(data[-8:-4], "little")
    if (
        len(data) < 12
        or data[:4] != b"PAR1"
        or data[-4:] != b"PAR1"
        or length > min(len(data) - 12, _LARGEST_FOOTER)
    ):
        raise ValueError("it is no whole Parquet file")
    footer = _ThriftReader(data, len(data) - 8 - length, len(data) - 8).structure()
    # a column has two levels where values may be missing, else one
    levels = [_number(element, 3) + 1 for element in _list(footer, 2)[1:]]
    if not set(levels) <= {1, 2}:
        raise ValueError("it has nested columns")
    rows = claimed = 0
    for group in _list(footer, 4):
        of_group = _number(group, 3)
        if of_group < 0:
            raise ValueError(f"it claims {of_group} rows")
        rows += of_group
        columns = _list(group, 1)
        claimed += max(
            sum(_checked_bytes(_chunk(c, n), of_group, data) for c, n in zip(columns, levels, strict=True)),
            8 * of_group * len(columns),
        )
    if rows != _number(footer, 3):
        raise ValueError(f"it claims {_number(footer, 3)} rows, its row groups {rows}")
    if claimed > _FREE_BYTES + _BYTES_OF_A_BYTE * len(data):
        raise ValueError(f"it claims {rows} rows in {len(data)} bytes")


def _chunk(column: Any, levels: int) -> _Chunk:
    about = column.get(3) if isinstance(column, dict) else None
    if not isinstance(about, dict) or 8 in about:
        raise ValueError("a column says nothing of itself")
    sizes = about.get(_HISTOGRAMS, {})
    histograms = [sizes.get(field, []) for field in (2, 3)] if isinstance(sizes, dict) else []
    if not histograms or not all(isinstance(histogram, list) for histogram in histograms):
        raise ValueError("a column's histograms are no lists")
    if len(histograms[0]) not in (0, 1) or len(histograms[1]) not in (0, levels):
        raise ValueError("a column's histograms are not of its type")
    begin = (_number(about, 11) if 11 in about else 0) or _number(about, 9)
    return _Chunk(_number(about, 5), _number(about, 4), begin, _number(about, 7), _number(about, 6))


def _number(fields: Any, number: int) -> int:
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, int):
        raise ValueError(f"its footer lacks the number in field {number}")
    return value


def _list(fields: Any, number: int) -> list[Any]:
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, list):
        raise ValueError(f"its footer lacks the list in field {number}")
    return value


def _checked_bytes(chunk: _Chunk, rows: int, data: bytes) -> int:
    """Return the bytes that the pages of a column's chunk become."""
    if chunk.values != rows:
        raise ValueError(f"a column claims {chunk.values} values in {rows} rows")
    if chunk.compression not in _COMPRESSIONS:
        raise ValueError(f"a column is compressed in way {chunk.compression}")
    begin, end = chunk.begin, chunk.begin + chunk.packed_bytes
    if not 4 <= begin <= end <= len(data):
        raise ValueError("a column lies outside the file")
    room = _VALUE_BYTES * rows + _PAGE_BYTES
    if chunk.bytes > room:
        raise ValueError(f"a column claims {chunk.bytes} bytes for {rows} values")
    total = 0
    while begin < end:
        header = _ThriftReader(data, begin, end)
        fields = header.structure()
        whole, packed = _number(fields, 2), _number(fields, 3)
        if whole < 0 or packed < 0 or header.at + packed > end:
            raise ValueError("a page lies outside its column")
        total += whole
        if total > room:
            raise ValueError(f"the pages of a column claim {total} bytes for {rows} values")
        begin = header.at + packed
    return total


class _ThriftReader:
    """Reads a structure in Thrift's compact protocol: integers, lists and structures by field number, no texts."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """Return the fields of the structure at `at`, and move behind it."""
        if depth > 8:
            raise ValueError("it nests too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _byte(self) -> int:
        if self.at >= self.end:
            raise ValueError("its description is cut off")
        self.at += 1
        return self.data[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("it holds a number beyond 64 bits")
        return value | byte << shift

    def _integer(self) -> int:
        value = self._unsigned()
        return -(value >> 1) - 1 if value & 1 else value >> 1

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):  # true, false: the value is the kind
            return None
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (3, 7):
            self.at += 1 if kind == 3 else 8
            return None
        if kind == 8:
            length = self._unsigned()
            self.at += length
            return None
        if kind == 9:
            head = self._byte()
            count = self._unsigned() if head >> 4 == 15 else head >> 4
            if count > THRIFT_ENTRIES:
                raise ValueError(f"a list claims {count} entries")
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        if kind == 12:
            return self.structure(depth + 1)
        raise ValueError(f"it holds a field of kind {kind}")
