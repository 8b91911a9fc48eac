"""The folder of a sweep's finished pieces, from which a killed sweep continues.

A piece is a file ``NAME.parquet``, where NAME is its hash: pieces of other laws, another guest or another grid have
other names and stay untouched. Files are written whole or not at all. Each carries a hash of itself, taken with
zeros in the hash's place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from migsim.errors import HostError
from migsim.files import atomic_path, check_writable
from migsim.reading import read_bytes
from migsim.study.sweep.cells import CELL_OUTCOMES, ERROR
from migsim.study.sweep.piece import Piece, column_names

__all__ = ["Store", "remove_pieces"]

_KEY = b"migsim-sweep-piece"
_SEAL = b"migsim-piece-sha256:"
_UNSEALED = _SEAL + b"0" * 64
_SEALED = re.compile(re.escape(_SEAL) + rb"[0-9a-f]{64}")
_LARGEST_PIECE = 1 << 30
_NAME = re.compile(r"\.?[0-9a-f]{40}\.parquet")


class Store:
    """Pieces by name, in a folder.

    Parameters
    ----------
    folder : Path
        Created where it does not exist.

    Attributes
    ----------
    damaged : list of Path
        Files that cannot be read or are not the piece of their name; these pieces are simulated again.

    Raises
    ------
    HostError
        When the folder cannot be created or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[Path] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"Cannot keep a sweep's cells in {folder}: {error.strerror or error}.",
                "Finished cells are kept as files in a folder.",
                "Give the path of a folder that exists or can be created (--folder).",
            ) from error
        check_writable(folder / "piece.parquet")

    def path(self, name: str) -> Path:
        """Return the path of a piece."""
        return self.folder / f"{name}.parquet"

    def read(self, name: str, cells: int, *, intervals: bool) -> Piece | None:
        """Return a stored piece; None where there is none, or its file is damaged (see `damaged`).

        Parameters
        ----------
        name : str
        cells : int
            Number of the piece's cells.
        intervals : bool
            Whether its cells have intervals, which several draws give them.
        """
        path = self.path(name)
        if not os.path.lexists(path):
            return None
        piece = _read(path, name, cells, column_names(intervals=intervals))
        if piece is None:
            self.damaged.append(path)
        return piece

    def write(self, name: str, piece: Piece) -> None:
        """Store a piece.

        Raises
        ------
        HostError
            When it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        about = json.dumps({"name": name, "reasons": piece.reasons, "laws": piece.laws}).encode()
        table = pa.table(piece.columns)
        file = pa.BufferOutputStream()
        with pq.ParquetWriter(
            file,
            table.schema,
            compression="zstd",
            use_dictionary=False,
            write_page_checksum=True,
            store_schema=False,
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({_KEY: about, b"hash": _UNSEALED})
        with atomic_path(self.path(name)) as temporary:
            temporary.write_bytes(_sealed(file.getvalue().to_pybytes()))


def remove_pieces(folder: Path) -> None:
    """Remove all pieces in a folder, and temporary files of a killed sweep; then the folder if it is empty."""
    for path in folder.glob("*"):
        if _NAME.match(path.name):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _sealed(data: bytes) -> bytes:
    """Return a piece's file with the hash of the whole file in the place that holds zeros."""
    return data.replace(_UNSEALED, _seal_of(data), 1)


def _seal_of(data: bytes) -> bytes:
    return _SEAL + hashlib.sha256(data).hexdigest().encode()


def _read(path: Path, name: str, cells: int, names: frozenset[str]) -> Piece | None:
    """Return a piece whose file has its own hash, and holds what `Store.write` writes for these cells."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = read_bytes(path, HostError, most=_LARGEST_PIECE)
        found = _SEALED.findall(data)
        if len(found) != 1 or found[0] != _seal_of(data.replace(found[0], _UNSEALED, 1)):
            return None
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            if file.metadata.num_rows != cells:
                return None
            table = file.read()
        about = json.loads(file.metadata.metadata[_KEY])
        columns = {c: np.asarray(table[c].to_numpy()) for c in table.column_names}
        piece = Piece(columns, tuple(about["reasons"]), about["laws"])
        return piece if about["name"] == name and _is_whole(piece, cells, names) else None
    except (pa.ArrowException, HostError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_whole(piece: Piece, cells: int, names: frozenset[str]) -> bool:
    """Say whether a piece has the columns of `names`, of their types, and codes that stand for something."""
    columns, reasons = piece.columns, piece.reasons
    if columns.keys() != names or not all(isinstance(text, str) for text in (*reasons, piece.laws)):
        return False
    kinds = {"outcome": np.dtype(np.int8)}
    for name, values in columns.items():
        right = values.dtype.kind == "i" if name == "reason" else values.dtype == kinds.get(name, np.float64)
        if not right or values.shape != (cells,):
            return False
    outcome, reason = columns["outcome"], columns["reason"]
    errors = outcome == ERROR
    return bool(
        np.all((outcome >= 0) & (outcome < len(CELL_OUTCOMES)))
        and np.all((reason >= -1) & (reason < len(reasons)))
        and np.all(errors == (reason >= 0))
        and not any(np.isinf(columns[name]).any() for name in names - {"outcome", "reason"})
    )
