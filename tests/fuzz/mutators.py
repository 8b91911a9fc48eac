"""Seeded mutators: from bytes of a good file to bytes of a bad one; the same generator gives the same bytes."""

import io
import json
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Mutator = Callable[[random.Random, bytes], bytes]

ODD_NUMBERS = (
    *("0", "-1", "1", "-0.0", "0.5", "1e-9", "1e3", "1e6", "100000000", "1e9", "1e15"),
    *("1e308", "-1e308", "1e-308", "NaN", "Infinity", "true", "null", '"7"', "[]", "{}"),
    *("2147483648", "4294967295", "4294967296", "9223372036854775807", "18446744073709551615"),
    *("1" + "0" * 30, "1" + "0" * 400, "1" + "0" * 5000),
)
ODD_TEXTS = (
    *("", "\x1b]0;pwned\x07\x1b[2J", "[/bold][red]x", "<script>alert(1)</script>", "$\\frac{$", "\u202egpj"),
    *("a\nmigsim: all is well", "../../x", "\x00", "kvm\x00", "10.0.2 \x1b[31m", "nan", "%s%n", "x" * 5000),
)


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    """Flip a few bits anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, data: bytes) -> bytes:
    """Cut the end, the beginning or a piece of the middle."""
    if not data:
        return data
    begin, end = sorted((rng.randrange(len(data)), rng.randrange(len(data) + 1)))
    return rng.choice((data[:end], data[begin:], data[:begin] + data[end:]))


def insert(rng: random.Random, data: bytes) -> bytes:
    """Insert noise, zeros or a copy of another piece."""
    at = rng.randrange(len(data) + 1)
    begin = rng.randrange(len(data) + 1)
    length = rng.choice((1, 4, 100, 4096))
    what = rng.choice((rng.randbytes(length), bytes(length), data[begin : begin + length]))
    return data[:at] + what + data[at:]


def overwrite_number(rng: random.Random, data: bytes) -> bytes:
    """Put a striking binary number over some bytes."""
    form, value = rng.choice(
        (
            *(("<I", 0xFFFFFFFF), ("<I", 0x7FFFFFFF), ("<Q", 2**64 - 1), (">Q", 2**63), (">I", 0xFFFFFFFF)),
            *((">H", 0xFFFF), ("<Q", 2**40), ("<d", float("nan")), ("<d", 1e308), ("<I", 0)),
        )
    )
    packed = struct.pack(form, value)
    at = rng.randrange(max(1, len(data) - len(packed)))
    return data[:at] + packed + data[at + len(packed) :]


def change_number_in_text(rng: random.Random, data: bytes) -> bytes:
    """Put another number in the place of one in JSON or TOML text."""
    places = list(re.finditer(rb"(?<![\w\"])-?\d+(\.\d+)?([eE][-+]?\d+)?(?![\w\"])", data))
    if not places:
        return flip_bits(rng, data)
    place = rng.choice(places)
    return data[: place.start()] + rng.choice(ODD_NUMBERS).encode() + data[place.end() :]


def change_json(rng: random.Random, data: bytes) -> bytes:
    """Change the document: drop, double, rename, retype or nest a member."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return flip_bits(rng, data)
    holders: list[dict | list] = []
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list) and value:
            holders.append(value)
            waiting += value.values() if isinstance(value, dict) else value
    if holders:
        _change_member(rng, rng.choice(holders))
    try:
        return json.dumps(document).encode()
    except RecursionError:  # nested too deep by earlier changes
        return flip_bits(rng, data)


def _change_member(rng: random.Random, holder: dict | list) -> None:
    key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    value = holder[key]
    way = rng.randrange(6)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[rng.choice(ODD_TEXTS)] = value
    elif way == 2:
        holder[key] = rng.choice(ODD_TEXTS)
    elif way == 3:
        holder[key] = rng.choice((-1, 0, 2**31, 2**62, 2**70, 10**400, 1e308, -0.5, 1e9, True, None, [], {}))
    elif way == 4:
        for _ in range(rng.choice((2, 50, 200))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        holder[key] = value
    elif isinstance(value, list):
        holder[key] = value * 3 + value[:1]
    else:
        holder[key] = [value]


def nest(rng: random.Random, data: bytes) -> bytes:
    """Put a hundred thousand brackets around or into the text."""
    return rng.choice((b"[" * 100_000, b'{"a":' * 20_000, b"[" * 500 + b"]" * 500)) + rng.choice((b"", data))


def change_zip_member(rng: random.Random, data: bytes) -> bytes:
    """Change, swap, drop, double or compress members, with right checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except (
        *(OSError, ValueError, RuntimeError, EOFError, KeyError),
        *(zlib.error, struct.error, zipfile.BadZipFile),
    ):
        return flip_bits(rng, data)
    if not members:
        return flip_bits(rng, data)
    way, one, other = rng.randrange(8), rng.randrange(len(members)), rng.randrange(len(members))
    name, held = members[one]
    compression = zipfile.ZIP_STORED
    if way == 0:
        members[one], members[other] = (name, members[other][1]), (members[other][0], held)
    elif way == 1:
        del members[one]
    elif way == 2:
        members.append((rng.choice((name, f"{name}.x")), held))
    elif way == 3:
        compression = zipfile.ZIP_DEFLATED
    elif name.endswith(".json"):
        members[one] = (name, rng.choice((change_json, change_number_in_text, nest))(rng, held))
    else:
        change = rng.choice(
            (flip_bits, cut, overwrite_number, change_parquet, change_parquet, change_parquet)
        )
        members[one] = (name, change(rng, held))
    return pack(members, compression)


def pack(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip file of members, dated 1980."""
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a name that stands twice
        for member, content in members:
            archive.writestr(zipfile.ZipInfo(member), content, compression)
    return target.getvalue()


def change_parquet(rng: random.Random, data: bytes) -> bytes:
    """Change values, types, order or number of the rows of a Parquet file, which stays whole."""
    import numpy as np
    import pyarrow as pa

    try:
        with np.errstate(invalid="ignore", over="ignore"):
            return _changed_rows(rng, data)
    except (pa.ArrowException, OSError, ValueError, OverflowError, TypeError, IndexError):
        return flip_bits(rng, data)


def _changed_rows(rng: random.Random, data: bytes) -> bytes:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    table = file.read()
    columns = {name: table[name].to_numpy(zero_copy_only=False).copy() for name in table.column_names}
    name = rng.choice(table.column_names)
    values, rows = columns[name], table.num_rows
    way = rng.randrange(6)
    if way == 0:
        order = np.random.default_rng(rng.randrange(2**32)).permutation(rows)
        columns = {each: column[order] for each, column in columns.items()}
    elif way == 1:
        columns = {each: column[: rng.randrange(rows)] for each, column in columns.items()}
    elif way == 2:
        columns = {each: np.concatenate([column] * 3) for each, column in columns.items()}
    elif way == 3:
        columns[name] = values.astype(rng.choice(("float64", "int64", "int8", "str")))
    elif values.dtype.kind in "iuf":
        least, most = (-1e308, 1e308) if values.dtype.kind == "f" else _bounds(values.dtype)
        odd = (-1, 0, 1, 99, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, least, most)
        values[rng.randrange(rows)] = min(max(rng.choice(odd), least), most)
    else:
        values[rng.randrange(rows)] = rng.choice(ODD_TEXTS)
    target = io.BytesIO()
    with pq.ParquetWriter(target, pa.table(columns).schema, compression="zstd") as writer:
        writer.write_table(pa.table(columns))
        writer.add_key_value_metadata(file.metadata.metadata or {})
    return target.getvalue()


def _bounds(kind: Any) -> tuple[int, int]:
    import numpy as np

    return int(np.iinfo(kind).min), int(np.iinfo(kind).max)


BYTES: tuple[Mutator, ...] = (flip_bits, cut, insert, overwrite_number)
TEXT: tuple[Mutator, ...] = (flip_bits, cut, nest, *(change_number_in_text,) * 6)
JSON: tuple[Mutator, ...] = (*TEXT, *(change_json,) * 6)
TRACE: tuple[Mutator, ...] = (*BYTES, *(change_zip_member,) * 8)
PARQUET: tuple[Mutator, ...] = (*BYTES, *(change_parquet,) * 4)
