"""A built Linux guest: a folder with the kernel, the first file system, the disk, and a manifest.

The manifest ``image.json`` is written last, into a folder that gets its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migsim.errors import HostError

__all__ = ["FILES", "MANIFEST", "LinuxImage", "sources_sha256"]

MANIFEST = "image.json"
FILES = ("vmlinuz", "initrd.img", "root.img")
FORMAT = 1
_FIELDS = {"kernel_release", "packages", "sizes_bytes", "sha256", "sources_sha256"}
_HERE = Path(__file__).parent
_BUILD = "Build it with: migsim lab build-guest"


@dataclass(frozen=True)
class LinuxImage:
    """What `build_image` has made.

    Attributes
    ----------
    folder
        Where it lies.
    kernel_release
        As ``uname -r`` says inside.
    packages
        Debian package -> version.
    sizes_bytes, sha256
        By file name.
    sources_sha256
        Digest of migsim's own files that went into it.
    """

    folder: Path
    kernel_release: str
    packages: dict[str, str]
    sizes_bytes: dict[str, int]
    sha256: dict[str, str]
    sources_sha256: str

    @property
    def kernel(self) -> Path:
        """For QEMU's ``-kernel``."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """For QEMU's ``-initrd``."""
        return self.folder / "initrd.img"

    @property
    def root(self) -> Path:
        """The root disk, raw, never written: ``-drive if=virtio,format=raw,readonly=on``."""
        return self.folder / "root.img"

    @classmethod
    def load(cls, folder: Path, *, digests: bool = False) -> LinuxImage:
        """Read a built image and check it.

        Parameters
        ----------
        folder
            As given to `build_image`.
        digests
            Also read all the files and compare their SHA-256 (about a second).

        Raises
        ------
        HostError
            If the folder holds no whole image, or one of other sources than today's.
        """
        folder = Path(folder)
        data = _manifest(folder)
        image = cls(
            folder=folder,
            kernel_release=data["kernel_release"],
            packages=data["packages"],
            sizes_bytes=data["sizes_bytes"],
            sha256=data["sha256"],
            sources_sha256=data["sources_sha256"],
        )
        image._check(digests)
        return image

    def _check(self, digests: bool) -> None:
        for name in FILES:
            path = self.folder / name
            size = path.stat().st_size if path.is_file() else -1
            if size != self.sizes_bytes.get(name) or (digests and file_sha256(path) != self.sha256.get(name)):
                raise HostError(
                    f"{path} is {'missing' if size < 0 else 'not what was built'}.",
                    f"An image's files are those of its {MANIFEST}.",
                    _BUILD,
                )
        if self.sources_sha256 != sources_sha256():
            raise HostError(
                f"{self.folder} is stale: it was built from other sources of migsim.lab.linux_guest.",
                "An image belongs to the sources that lie beside its builder.",
                _BUILD,
            )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT or not set(data) >= _FIELDS:
            raise ValueError(f"format {data['format']}, fields {', '.join(sorted(data))}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise HostError(
            f"{folder} holds no Linux guest: {path.name}: {why}.",
            f"{MANIFEST} is written last, so a folder without a valid one was never finished.",
            _BUILD,
        ) from None
    return dict(data)


def sources_sha256() -> str:
    """Digest of migsim's own files that decide what an image holds, names included."""
    digest = hashlib.sha256()
    names = {path.name for path in _HERE.iterdir() if path.suffix in {".c", ".h", ".sh", ".sql"}}
    for path in (_HERE / name for name in sorted(names | {"packages.py", "tree.py"})):
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
