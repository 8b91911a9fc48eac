"""The image of the Linux guest: a folder with the kernel, the initial file system, the disk, and a manifest.

The manifest ``image.json`` is written last, and the folder gets its name after that.
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
    """An image that `migsim.lab.linux_guest.build_image` has built.

    Attributes
    ----------
    folder
        Its folder.
    kernel_release
        Version of the kernel, as ``uname -r`` prints it.
    packages
        Version of each Debian package.
    sizes_bytes, sha256
        Of each file, by name.
    sources_sha256
        Digest of migsim's files that the image was built from.
    """

    folder: Path
    kernel_release: str
    packages: dict[str, str]
    sizes_bytes: dict[str, int]
    sha256: dict[str, str]
    sources_sha256: str

    @property
    def kernel(self) -> Path:
        """The kernel, for QEMU's ``-kernel``."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial file system, for QEMU's ``-initrd``."""
        return self.folder / "initrd.img"

    @property
    def root(self) -> Path:
        """The root disk, raw and read-only: ``-drive if=virtio,format=raw,readonly=on``."""
        return self.folder / "root.img"

    @classmethod
    def load(cls, folder: Path, *, digests: bool = False) -> LinuxImage:
        """Read a built image and check it.

        Parameters
        ----------
        folder
            As given to `build_image`.
        digests
            Whether the files are read and their SHA-256 compared too (about a second).

        Raises
        ------
        HostError
            Where the folder holds no complete image, or one that was built from other sources.
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
    """Return the digest of migsim's files that decide what an image holds: names and contents."""
    digest = hashlib.sha256()
    names = {path.name for path in _HERE.iterdir() if path.suffix in {".c", ".h", ".sh", ".sql"}}
    for path in (_HERE / name for name in sorted(names | {"packages.py", "tree.py"})):
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
