"""The folder of a sweep's finished pieces, from which a killed sweep continues.

A piece is a file ``NAME.parquet``, where NAME is its hash: pieces of other laws, another guest or another grid have
other names and stay untouched. Files are written whole or not at all, and their pages carry checksums.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import numpy as np

from migsim.errors import HostError
from migsim.files import atomic_path, check_writable
from migsim.study.sweep.piece import Piece

__all__ = ["Store", "remove_pieces"]

_KEY = b"migsim-sweep-piece"
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

    def read(self, name: str, cells: int) -> Piece | None:
        """Return a stored piece; None where there is none, or its file is damaged (see `damaged`)."""
        path = self.path(name)
        if not path.exists():
            return None
        piece = _read(path, name)
        if piece is None or any(len(values) != cells for values in piece.columns.values()):
            self.damaged.append(path)
            return None
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

        metadata = {"name": name, "reasons": piece.reasons, "laws": piece.laws}
        table = pa.table(piece.columns).replace_schema_metadata({_KEY: json.dumps(metadata).encode()})
        with atomic_path(self.path(name)) as temporary:
            pq.write_table(
                table, temporary, compression="zstd", use_dictionary=False, write_page_checksum=True
            )


def remove_pieces(folder: Path) -> None:
    """Remove all pieces in a folder, and temporary files of a killed sweep; then the folder if it is empty."""
    for path in folder.glob("*"):
        if _NAME.match(path.name):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _read(path: Path, name: str) -> Piece | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True)
        metadata = json.loads((table.schema.metadata or {})[_KEY])
        columns = {c: np.asarray(table[c].to_numpy()) for c in table.column_names}
        if metadata["name"] != name:
            return None
        return Piece(columns, tuple(metadata["reasons"]), metadata["laws"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
