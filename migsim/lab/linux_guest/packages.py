"""Debian packages for the Linux guest: fetched by apt from where this machine has its own, unpacked, not installed.

apt works with lists and a cache of its own below the given folder, so it needs no root, changes nothing on the
machine, and always gets what the archive holds today.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from migsim.errors import HostError

__all__ = ["LIBRARIES", "PROGRAMS", "RELEASE", "Fetched", "fetch", "run"]

RELEASE = "bookworm"
_META_KERNEL = "linux-image-cloud-amd64"
PROGRAMS = ("postgresql-15", "postgresql-client-15", "redis-server", "redis-tools", "busybox-static")
# What the programs are linked to; LLVM and Perl are not among it.
# fmt: off
LIBRARIES = (
    "libatomic1", "libaudit1", "libc6", "libcap-ng0", "libcap2", "libcom-err2", "libffi8", "libgcc-s1",
    "libgcrypt20", "libgmp10", "libgnutls30", "libgpg-error0", "libgssapi-krb5-2", "libhogweed6", "libicu72",
    "libidn2-0", "libjemalloc2", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "libldap-2.5-0",
    "liblz4-1", "liblzf1", "liblzma5", "libnettle8", "libp11-kit0", "libpam0g", "libpq5", "libreadline8",
    "libsasl2-2", "libssl3", "libstdc++6", "libsystemd0", "libtasn1-6", "libtinfo6", "libunistring2", "libxml2",
    "libzstd1", "zlib1g",
)
# fmt: on
HEADERS = ("libpq-dev",)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_APT = Path("/etc/apt")


@dataclass(frozen=True)
class Fetched:
    """Packages on disk: the kernel's, the others', and the versions of all."""

    kernel: Path
    others: tuple[Path, ...]
    headers: tuple[Path, ...]
    versions: dict[str, str]


def run(command: Sequence[str | Path], *, what: str, folder: Path | None = None, todo: str = "") -> str:
    """Run a command of the build and return its output.

    Raises
    ------
    HostError
        If it is missing or fails; its own words are in the message.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except OSError as error:
        raise HostError(
            f"Cannot run {command[0]!r}: {error.strerror}.", f"It is needed to {what}.", todo
        ) from None
    if done.returncode:
        words = " ".join((done.stderr.strip() or done.stdout.strip()).split("\n")[-4:])
        raise HostError(f"Could not {what}: {Path(command[0]).name} says: {words}.", "", todo)
    return done.stdout


def debian_addresses(apt: Path = _APT) -> dict[str, str]:
    """Where this machine takes Debian's suites from, by suite.

    Parameters
    ----------
    apt
        apt's folder of settings.

    Raises
    ------
    HostError
        If no source of the wanted release is there.
    """
    wanted = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
    found: dict[str, str] = {}
    for path in sorted([apt / "sources.list", *(apt / "sources.list.d").glob("*")]):
        text = path.read_text(errors="replace") if path.is_file() else ""
        for suite, address in _stanzas(text) if path.suffix == ".sources" else _lines(text):
            if suite in wanted and "debian" in address:
                found.setdefault(suite, address)
    if RELEASE not in found:
        raise HostError(
            f"{apt} names no source of Debian 12 ({RELEASE}).",
            "The Linux guest is made of Debian 12's packages, fetched with apt from this machine's own mirror.",
            f"Build it on Debian 12, or add a source of {RELEASE} main to {apt / 'sources.list'}.",
        )
    return found


def _stanzas(text: str) -> Iterable[tuple[str, str]]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
            for address in fields.get("URIs", "").split():
                yield from ((suite, address) for suite in fields.get("Suites", "").split())


def _lines(text: str) -> Iterable[tuple[str, str]]:
    for match in re.finditer(r"^deb +(?:\[[^\]]*\] +)?(\S+) +(\S+)", text, re.MULTILINE):
        yield match[2], match[1]


class _Apt:
    """apt with sources, lists, cache and status of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "deb"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "debian.sources").write_text(
            "\n".join(
                f"Types: deb\nURIs: {address}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
                for suite, address in debian_addresses().items()
            )
        )

    def run(self, *words: str, what: str) -> str:
        options = {
            "Dir::Etc::sourcelist": self.folder / "debian.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "APT::Sandbox::User": getpass.getuser(),
            "APT::Architecture": "amd64",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
        }
        tool, *rest = words
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return run(
            [tool, "-q", *given, *rest],
            what=what,
            folder=self.folder / "deb",
            todo="Check that this machine reaches its Debian mirror (apt-get update).",
        )


def fetch(folder: Path) -> Fetched:
    """Download the packages below `folder`.

    Raises
    ------
    HostError
        If apt, its sources, the mirror or a package are missing.
    """
    apt = _Apt(folder)
    apt.run("apt-get", "update", what="read the lists of packages")
    depends = apt.run("apt-cache", "depends", _META_KERNEL, what=f"find the package of {_META_KERNEL}")
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    if not match:
        raise HostError(
            f"{_META_KERNEL} names no kernel.",
            "Debian's meta package depends on the kernel's own.",
            "Check this machine's sources of Debian packages.",
        )
    kernel = match[1]
    names = [kernel, *PROGRAMS, *LIBRARIES, *HEADERS]
    apt.run("apt-get", "download", *names, what="download the guest's packages")
    files = {path.name.split("_")[0]: path for path in (folder / "deb").glob("*.deb")}
    missing = [name for name in names if name not in files]
    if missing:
        raise HostError(
            f"apt-get brought no {', '.join(missing)}.",
            "Each package of the guest's list is needed.",
            "Check this machine's sources of Debian packages.",
        )
    versions = {name: path.name.split("_")[1].replace("%3a", ":") for name, path in sorted(files.items())}
    return Fetched(
        kernel=files[kernel],
        others=tuple(files[name] for name in (*PROGRAMS, *LIBRARIES)),
        headers=tuple(files[name] for name in HEADERS),
        versions=versions,
    )
