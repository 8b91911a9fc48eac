"""What lies on the guest's disk and in its first file system, from unpacked packages and migsim's own files."""

from __future__ import annotations

import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from migsim.errors import HostError
from migsim.lab.linux_guest.packages import Fetched, run

__all__ = ["lay_out_root", "unpack", "write_initrd"]

_HERE = Path(__file__).parent
_MODULES = (
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
)
# fmt: off
_APPLETS = (
    "cat", "chmod", "chown", "cp", "cut", "du", "grep", "head", "hostname", "ip", "ls", "mkdir", "mount", "poweroff",
    "sed", "su", "sh", "sleep", "stty", "tail", "umount", "uname",
)
# fmt: on
_UNUSED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/lib/postgresql/15/lib/bitcode",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/share/postgresql/15/man",
    "usr/share/postgresql/15/tsearch_data",
)
_USERS = ("users.c", "order_entry.c", "store.c")
_OWN = ("boot.sh", "schema.sql", "transactions.sql")


def unpack(packages: tuple[Path, ...], folder: Path) -> Path:
    """Unpack packages into `folder`, whose ``/bin``, ``/lib`` and ``/lib64`` are links as on Debian."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (folder / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")
    flags = f"-x --keep-directory-symlink --no-same-owner -C {shlex.quote(str(folder))}"
    for package in packages:
        # through tar, which keeps the links when told so; dpkg-deb -x would replace them by folders
        run(
            ["sh", "-c", f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))} | tar {flags}"],
            what=f"unpack {package.name}",
        )
    return folder


def lay_out_root(fetched: Fetched, folder: Path) -> Path:
    """Make the disk's tree: programs, libraries, migsim's own files, and the users' program compiled here."""
    root = unpack(fetched.others, folder / "root")
    headers = unpack(fetched.headers, folder / "headers")
    for name in _UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("dev", "proc", "sys", "run", "tmp", "migsim"):
        (root / name).mkdir(exist_ok=True)
    for applet in _APPLETS:
        link = root / "usr/bin" / applet
        link.unlink(missing_ok=True)
        link.symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\npostgres:x:70:70:postgres:/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\npostgres:x:70:\n")
    for name in _OWN:
        shutil.copyfile(_HERE / name, root / "migsim" / name)
    (root / "migsim/boot.sh").chmod(0o755)
    libraries = root / "usr/lib/x86_64-linux-gnu"
    run(
        [
            *("gcc", "-O2", "-std=gnu11", "-Wall", f"-I{headers}/usr/include/postgresql"),
            *(_HERE / name for name in _USERS),
            *("-o", root / "migsim/users", libraries / "libpq.so.5", "-lm", f"-Wl,-rpath-link,{libraries}"),
        ],
        what="compile the guest's users",
        todo="Install gcc and libc6-dev.",
    )
    return root


def write_initrd(kernel_tree: Path, root: Path, target: Path) -> None:
    """Write the first file system: busybox, the disk's modules, and ``/init``."""
    [modules] = (kernel_tree / "usr/lib/modules").iterdir()
    entries: list[tuple[str, int, bytes]] = [
        (name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "modules", "proc", "sysroot")
    ]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, (root / "usr/bin/busybox").read_bytes()))
    entries.append(("init", stat.S_IFREG | 0o755, (_HERE / "initrd_init.sh").read_bytes()))
    for name in _MODULES:
        path = modules / "kernel" / name
        if not path.is_file():
            raise HostError(
                f"The kernel's package has no {name}.",
                "The disk is found with it.",
                "This migsim knows Debian 12's cloud kernel; check the package that apt brought.",
            )
        entries.append((f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()))
    target.write_bytes(b"".join(_cpio(entries)))


def _cpio(entries: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """A "newc" archive, as the kernel reads it; times are 0 and owners root, so equal inputs give equal bytes."""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        yield head + bytes(-len(head) % 4)
        yield data + bytes(-len(data) % 4)
