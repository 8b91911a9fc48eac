"""The build of the guest's image from its sources, with gcc and binutils."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from migsim.errors import HostError

HERE = Path(__file__).parent
IMAGE = HERE / "migsim-guest.bin"
BUILD_RECORD = HERE / "migsim-guest.json"
SOURCES = (
    "boot.S",
    "writes.S",
    "guest.c",
    "layout.h",
    "machine.h",
    "command_line.h",
    "memory.h",
    "check.h",
    "zipf.h",
    "exp2.h",
    "guest.ld",
)
# fmt: off
COMPILE = (
    "-m64", "-march=x86-64", "-mno-red-zone", "-mgeneral-regs-only", "-mcmodel=small", "-O2", "-std=gnu11",
    "-ffreestanding", "-fno-pic", "-fno-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none", "-fno-tree-loop-distribute-patterns", "-fno-strict-aliasing", "-fno-ident",
    "-Wall", "-Wextra", "-Werror=implicit",
)
LINK = (
    "-m64", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack",
    "-Wl,-z,max-page-size=4096",
)
# fmt: on


def sources_sha256() -> str:
    """Return the digest of the image's sources: file names and contents."""
    digest = hashlib.sha256()
    for name in SOURCES:
        data = (HERE / name).read_bytes()
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def toolchain(gcc: str = "gcc") -> str:
    """Return the versions of the compiler and of its assembler, in one line.

    Raises
    ------
    HostError
        Where `gcc` is missing or does not run.
    """
    version = _run([gcc, "--version"]).splitlines()[0]
    assembler = _run([gcc, "-Wa,--version", "-x", "assembler", "-c", "/dev/null", "-o", "/dev/null"])
    return f"{version}; {assembler.splitlines()[0]}"


def build_image(out: Path, *, gcc: str = "gcc") -> Path:
    """Build the guest's image.

    Parameters
    ----------
    out
        Path of the image to write.
    gcc
        The compiler; `objcopy` is found on PATH.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    HostError
        Where a tool is missing or fails; the error quotes the tool.
    """
    with tempfile.TemporaryDirectory(prefix="migsim-guest-") as folder:
        objects = []
        for source in ("boot.S", "writes.S", "guest.c"):
            target = f"{folder}/{source}.o"
            _run([gcc, *COMPILE, "-c", source, "-o", target])
            objects.append(target)
        elf = f"{folder}/guest.elf"
        _run([gcc, *LINK, "-T", "guest.ld", *objects, "-o", elf])
        _run(["objcopy", "-O", "binary", elf, str(out.absolute())])
    return out


def build_record(image: Path, *, gcc: str = "gcc") -> dict[str, Any]:
    """Return what ties an image to its sources: both digests, and the toolchain."""
    return {
        "sources_sha256": sources_sha256(),
        "image_sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
        "toolchain": toolchain(gcc),
    }


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=False)
    except OSError as error:
        raise HostError(
            f"Cannot run {command[0]!r}: {error.strerror}.",
            "The guest's image is built with gcc and binutils.",
            "Install them, or use the image that migsim ships.",
        ) from None
    if done.returncode:
        raise HostError(
            f"{' '.join(command[:1] + command[-3:])} failed: {done.stderr.strip()}.",
            "The guest's sources are for gcc 12 or newer on x86-64.",
            "Try another compiler, or use the image that migsim ships.",
        )
    return done.stdout
