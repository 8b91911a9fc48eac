"""A folder that keeps a sweep's finished pieces, so that a killed sweep goes on where it was.

``NAME.parquet`` is one piece, NAME the hash of what it follows from: a piece of other laws, another guest or another
grid has another name, and is left alone. Files are written whole or not at all; every page in them carries a checksum.
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
        Made where it does not exist.

    Attributes
    ----------
    damaged : list of Path
        Files that were there and could not be trusted; their pieces are made again.

    Raises
    ------
    HostError
        When the folder cannot be made or written.
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
                "Give the path of a folder (--folder), or of one that can be made.",
            ) from error
        check_writable(folder / "piece.parquet")

    def path(self, name: str) -> Path:
        """Where a piece lies."""
        return self.folder / f"{name}.parquet"

    def read(self, name: str, cells: int) -> Piece | None:
        """Return a kept piece; None where there is none, or it is `damaged`."""
        path = self.path(name)
        if not path.exists():
            return None
        piece = _read(path, name)
        if piece is None or any(len(values) != cells for values in piece.columns.values()):
            self.damaged.append(path)
            return None
        return piece

    def write(self, name: str, piece: Piece) -> None:
        """Keep a piece.

        Raises
        ------
        HostError
            When it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        about = {"name": name, "reasons": piece.reasons, "laws": piece.laws}
        table = pa.table(piece.columns).replace_schema_metadata({_KEY: json.dumps(about).encode()})
        with atomic_path(self.path(name)) as temporary:
            pq.write_table(
                table, temporary, compression="zstd", use_dictionary=False, write_page_checksum=True
            )


def remove_pieces(folder: Path) -> None:
    """Remove every piece in a folder, whole or left by a kill, and the folder where nothing else is in it."""
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
        about = json.loads((table.schema.metadata or {})[_KEY])
        columns = {c: np.asarray(table[c].to_numpy()) for c in table.column_names}
        if about["name"] != name:
            return None
        return Piece(columns, tuple(about["reasons"]), about["laws"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
