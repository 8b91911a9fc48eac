"""Builds the Linux guest's image from Debian packages and the sources beside this file.

The packages are unpacked, laid out as a file system (``mke2fs -d``), and that is booted once, under emulation, with
its disk writable: PostgreSQL makes its cluster and loads the schema inside, where its versions and libraries are the
guest's own. No step needs root. All happens in a folder beside the target, which gets the target's name at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from migsim.errors import HostError
from migsim.lab.linux_guest.image import FILES, FORMAT, MANIFEST, LinuxImage, file_sha256, sources_sha256
from migsim.lab.linux_guest.packages import fetch, run
from migsim.lab.linux_guest.prepare import prepare
from migsim.lab.linux_guest.tree import lay_out_root, unpack, write_initrd

__all__ = ["build_image"]

NEEDED_BYTES = 1_600_000_000
DISK_BYTES = 640 << 20
ADMIN_PATH = ":/usr/sbin:/sbin"
# tool -> Debian's package
TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "gcc": "gcc libc6-dev",
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
}


def build_image(
    folder: Path, *, progress: Callable[[str], None] | None = None, qemu: str = "qemu-system-x86_64"
) -> LinuxImage:
    """Build the Linux guest's image.

    Parameters
    ----------
    folder
        Where it goes; replaced if it holds an older image.
    progress
        Told each step in a few words.
    qemu
        The command that starts QEMU for the boot in which the database is loaded.

    Returns
    -------
    LinuxImage
        The image, checked.

    Raises
    ------
    HostError
        If a tool, a package or disk space is missing. `folder` is then as it was.
    GuestError
        If the database does not load inside.
    """
    folder = Path(folder).absolute()
    tell = progress or (lambda _: None)
    check_host(folder, qemu)
    with _workspace(folder) as work:
        made = work / "image"
        made.mkdir()
        tell("fetching Debian packages")
        fetched = fetch(work / "apt")
        tell("laying out the disk")
        kernel_tree = unpack((fetched.kernel,), work / "kernel")
        [vmlinuz] = (kernel_tree / "boot").glob("vmlinuz-*")
        shutil.copyfile(vmlinuz, made / "vmlinuz")
        root = lay_out_root(fetched, work)
        write_initrd(kernel_tree, root, made / "initrd.img")
        tell("loading the database in the guest (about a minute)")
        prepare(made, qemu, lay_out=lambda: _make_disk(root, made / "root.img"), tell=tell)
        _shrink_disk(made / "root.img")
        _write_manifest(made, vmlinuz.name.removeprefix("vmlinuz-"), fetched.versions)
        LinuxImage.load(made, digests=True)
        _replace(folder, made)
    return LinuxImage.load(folder)


def check_host(folder: Path, qemu: str) -> None:
    """Raise HostError, saying all that is missing, where the image cannot be built."""
    missing = {tool: package for tool, package in TOOLS.items() if _tool(tool) is None}
    program = shlex.split(qemu)[0]
    if shutil.which(program) is None:
        missing[program] = "qemu-system-x86 seabios"
    if missing:
        packages = " ".join(sorted({word for package in missing.values() for word in package.split()}))
        raise HostError(
            f"Missing here: {', '.join(missing)}.",
            "The Linux guest is built from Debian packages with these.",
            f"Run scripts/install_linux_guest.sh, or as root: apt-get install {packages}",
        )
    if folder.exists() and not (
        (folder / MANIFEST).exists() or (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise HostError(
            f"{folder} is there and holds no image of the Linux guest.",
            "A build replaces the folder that it is given, so it takes only a new one, an empty one, or an image.",
            "Give another folder, or remove this one.",
        )
    beside = folder.parent
    while not beside.exists():
        beside = beside.parent
    free = shutil.disk_usage(beside).free
    if free < NEEDED_BYTES:
        raise HostError(
            f"{beside} has {free / 1e9:.1f} GB free.",
            f"Building the Linux guest needs {NEEDED_BYTES / 1e9:.1f} GB there; the image keeps about a quarter.",
            "Free some space, or give a folder on another disk.",
        )


def _tool(name: str) -> str | None:
    """Where a tool is; those of file systems lie where only root's PATH leads."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ADMIN_PATH)


@contextlib.contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """Yield a folder beside the target, gone at the end whatever happens; those of killed builds go first."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}.build-*"):
            if not _owner_lives(left):
                shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.build-{os.getpid()}-", dir=folder.parent))
    except OSError as error:
        raise HostError(
            f"Cannot build in {folder.parent}: {error.strerror or error}.",
            "The image is built in a folder beside its place.",
            "Give a place that may be written.",
        ) from None
    try:
        yield work
    except OSError as error:
        raise HostError(
            f"Cannot build {folder}: {error.strerror or error}.", "", "Check the disk's room and rights."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _owner_lives(left: Path) -> bool:
    owner = left.name.rsplit(".build-", 1)[1].split("-")[0]
    return owner.isdigit() and Path(f"/proc/{owner}").exists()


def _make_disk(root: Path, target: Path) -> None:
    with target.open("wb") as stream:
        stream.truncate(DISK_BYTES)
    # Without a journal a read-only mount writes nothing; owners are root's, whoever builds.
    options = ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-m", "0", "-L", "migsim"]
    run([_tool("mke2fs") or "mke2fs", *options, "-d", root, target], what="make the guest's disk")


def _shrink_disk(disk: Path) -> None:
    for tool, option in (("e2fsck", "-fy"), ("resize2fs", "-M"), ("e2fsck", "-fn")):
        run([_tool(tool) or tool, option, disk], what="shrink the guest's disk")


def _write_manifest(made: Path, kernel_release: str, packages: dict[str, str]) -> None:
    manifest = {
        "format": FORMAT,
        "kernel_release": kernel_release,
        "packages": packages,
        "sizes_bytes": {name: (made / name).stat().st_size for name in FILES},
        "sha256": {name: file_sha256(made / name) for name in FILES},
        "sources_sha256": sources_sha256(),
    }
    (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _replace(folder: Path, made: Path) -> None:
    """Give `made` the name `folder`; an older image there goes away only then."""
    old = made.parent / "old"
    if folder.exists():
        folder.rename(old)
    made.rename(folder)
