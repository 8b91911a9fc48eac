"""The build of the Linux guest's image from Debian packages and the sources beside this file.

The packages are unpacked and laid out as a file system (``mke2fs -d``). That disk is booted once, under emulation and
writable: inside the guest, PostgreSQL makes its cluster and loads the schema, with the guest's own versions and
libraries. No step needs root. The image is built in a folder beside the target, which is renamed at the end.
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
        Folder of the image; an older image in it is replaced.
    progress
        Called with a few words at each step.
    qemu
        The command that starts QEMU for the boot in which the database is loaded.

    Returns
    -------
    LinuxImage
        The checked image.

    Raises
    ------
    HostError
        Where a tool, a package or disk space is missing. `folder` is then unchanged.
    GuestError
        Where the guest does not load the database.
    """
    folder = Path(folder).absolute()
    tell = progress or (lambda _: None)
    check_host(folder, qemu)
    with _workspace(folder) as work:
        image_folder = work / "image"
        image_folder.mkdir()
        tell("fetching Debian packages")
        fetched = fetch(work / "apt")
        tell("laying out the disk")
        kernel_tree = unpack((fetched.kernel,), work / "kernel")
        [vmlinuz] = (kernel_tree / "boot").glob("vmlinuz-*")
        shutil.copyfile(vmlinuz, image_folder / "vmlinuz")
        root = lay_out_root(fetched, work)
        write_initrd(kernel_tree, root, image_folder / "initrd.img")
        tell("loading the database in the guest (about a minute)")
        prepare(image_folder, qemu, lay_out=lambda: _make_disk(root, image_folder / "root.img"), tell=tell)
        _shrink_disk(image_folder / "root.img")
        _write_manifest(image_folder, vmlinuz.name.removeprefix("vmlinuz-"), fetched.versions)
        LinuxImage.load(image_folder, digests=True)
        _replace(folder, image_folder)
    return LinuxImage.load(folder)


def check_host(folder: Path, qemu: str) -> None:
    """Raise HostError where the image cannot be built; it names everything that is missing."""
    missing = {tool: package for tool, package in TOOLS.items() if _tool(tool) is None}
    program = shlex.split(qemu)[0]
    if shutil.which(program) is None:
        missing[program] = "qemu-system-x86 seabios"
    if missing:
        packages = " ".join(sorted({word for package in missing.values() for word in package.split()}))
        raise HostError(
            f"Missing on this machine: {', '.join(missing)}.",
            "The Linux guest is built from Debian packages with these programs.",
            f"Run scripts/install_linux_guest.sh, or as root: apt-get install {packages}",
        )
    if folder.exists() and not (
        (folder / MANIFEST).exists() or (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise HostError(
            f"{folder} exists and holds no image of the Linux guest.",
            "A build replaces its folder, so it takes only a new folder, an empty one, or one with an image.",
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
    """Return the path of a tool; file system tools lie in folders that only root's PATH names."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ADMIN_PATH)


@contextlib.contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """Yield a folder beside the target and remove it at the end; folders of killed builds are removed first."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f".{folder.name}.build-*"):
            if not _owner_lives(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.build-{os.getpid()}-", dir=folder.parent))
    except OSError as error:
        raise HostError(
            f"Cannot build in {folder.parent}: {error.strerror or error}.",
            "The image is built in a folder beside the target.",
            "Give a folder that may be written.",
        ) from None
    try:
        yield work
    except OSError as error:
        raise HostError(
            f"Cannot build {folder}: {error.strerror or error}.", "", "Check the disk's room and rights."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _owner_lives(workspace: Path) -> bool:
    owner = workspace.name.rsplit(".build-", 1)[1].split("-")[0]
    return owner.isdigit() and Path(f"/proc/{owner}").exists()


def _make_disk(root: Path, target: Path) -> None:
    with target.open("wb") as stream:
        stream.truncate(DISK_BYTES)
    # Without a journal a read-only mount writes nothing. The owner is root, whoever builds the image.
    options = ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-m", "0", "-L", "migsim"]
    run([_tool("mke2fs") or "mke2fs", *options, "-d", root, target], what="make the guest's disk")


def _shrink_disk(disk: Path) -> None:
    for tool, option in (("e2fsck", "-fy"), ("resize2fs", "-M"), ("e2fsck", "-fn")):
        run([_tool(tool) or tool, option, disk], what="shrink the guest's disk")


def _write_manifest(image_folder: Path, kernel_release: str, packages: dict[str, str]) -> None:
    manifest = {
        "format": FORMAT,
        "kernel_release": kernel_release,
        "packages": packages,
        "sizes_bytes": {name: (image_folder / name).stat().st_size for name in FILES},
        "sha256": {name: file_sha256(image_folder / name) for name in FILES},
        "sources_sha256": sources_sha256(),
    }
    (image_folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _replace(folder: Path, image_folder: Path) -> None:
    """Rename `image_folder` to `folder`; an older image there stays until then."""
    old = image_folder.parent / "old"
    if folder.exists():
        folder.rename(old)
    image_folder.rename(folder)
