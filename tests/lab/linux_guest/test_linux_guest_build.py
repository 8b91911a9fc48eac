"""The builder says what is missing before it works, and leaves nothing that a later run takes for good."""

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from migsim.errors import HostError
from migsim.lab.linux_guest import LinuxImage, build, build_image
from migsim.lab.linux_guest.image import FILES, MANIFEST
from migsim.lab.linux_guest.packages import Fetched, debian_addresses, run
from migsim.lab.linux_guest.tree import _OWN, _USERS


def everything_here(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda tool, path=None: f"/usr/bin/{tool}")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12))


class Usage:
    def __init__(self, free):
        self.free = free


def test_missing_tools_are_all_named_with_their_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "ADMIN_PATH", "")
    with pytest.raises(HostError) as caught:
        build_image(tmp_path / "image")
    said = str(caught.value)
    for word in (*build.TOOLS, "qemu-system-x86_64", "e2fsprogs", "libc6-dev", "install_linux_guest.sh"):
        assert word in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path, monkeypatch):
    everything_here(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(300_000_000))
    monkeypatch.setattr(build, "fetch", lambda _: pytest.fail("fetched"))
    with pytest.raises(HostError, match=r"has 0\.3 GB free.*needs 1\.6 GB"):
        build_image(tmp_path / "not" / "there" / "image")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_image_is_not_replaced(tmp_path, monkeypatch):
    everything_here(monkeypatch)
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(HostError, match="holds no image"):
        build_image(tmp_path)
    with pytest.raises(HostError, match="holds no image"):
        build_image(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_place_that_cannot_be_written_is_told(monkeypatch):
    everything_here(monkeypatch)
    with pytest.raises(HostError, match="Cannot build in /proc"):
        build_image(Path("/proc/image"))


@pytest.mark.parametrize(
    "failure", [HostError("no mirror"), OSError(28, "No space left on device"), KeyboardInterrupt()]
)
def test_a_failed_build_leaves_the_older_image_alone(tmp_path, monkeypatch, failure):
    everything_here(monkeypatch)
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / MANIFEST).write_text("{}")

    def fail(work):
        (work.parent / "image" / "vmlinuz").write_text("half")
        raise failure

    monkeypatch.setattr(build, "fetch", fail)
    with pytest.raises((HostError, KeyboardInterrupt)) as caught:
        build_image(folder)
    if isinstance(failure, OSError):
        assert "No space left" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["image"]
    assert [path.name for path in folder.iterdir()] == [MANIFEST]


def steps_of_stone(monkeypatch):
    """All of a build but packages and QEMU."""
    everything_here(monkeypatch)

    def kernel(_packages, folder):
        (folder / "boot").mkdir(parents=True)
        return folder

    def unpack(packages, folder):
        kernel(packages, folder)
        (folder / "boot/vmlinuz-6.1.0-stone").write_text("kernel")
        return folder

    fetched = Fetched(Path("k"), (), (), {"busybox-static": "1"})
    monkeypatch.setattr(build, "fetch", lambda _: fetched)
    monkeypatch.setattr(build, "unpack", unpack)
    monkeypatch.setattr(build, "lay_out_root", lambda _fetched, work: work)
    monkeypatch.setattr(build, "write_initrd", lambda _k, _r, target: target.write_text("initrd"))
    monkeypatch.setattr(build, "_make_disk", lambda _root, target: target.write_text("disk"))
    monkeypatch.setattr(build, "prepare", lambda _made, _qemu, lay_out, tell: lay_out())
    monkeypatch.setattr(build, "_shrink_disk", lambda _disk: None)


def test_a_build_replaces_an_older_image_whole(tmp_path, monkeypatch):
    steps_of_stone(monkeypatch)
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / MANIFEST).write_text("{}")
    (folder / "left-over").write_text("")
    told = []
    image = build_image(folder, progress=told.append)
    assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, MANIFEST))
    assert image == LinuxImage.load(folder, digests=True)
    assert image.kernel_release == "6.1.0-stone" and image.packages == {"busybox-static": "1"}
    assert len(told) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_a_killed_build_is_no_image_and_the_next_one_clears_it_away(tmp_path, monkeypatch):
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from migsim.lab.linux_guest import build

        def hang(folder):
            folder.mkdir()
            (folder / "big.deb").write_text("half")
            print("here", flush=True)
            time.sleep(60)

        build.check_host = lambda folder, qemu: None
        build.fetch = hang
        build.build_image(Path(sys.argv[1]))
        """
    )
    folder = tmp_path / "image"
    process = subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"here\n"
        [left] = tmp_path.iterdir()
        # a build that still runs is left alone by another one
        steps_of_stone(monkeypatch)
        build_image(folder)
        assert left.exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (left / "apt/big.deb").exists()
    for _ in range(50):
        if not Path(f"/proc/{process.pid}").exists():
            break
        time.sleep(0.1)
    build_image(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


DEB822 = """\
Types: deb
# a comment
URIs: http://one.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb deb-src
URIs: http://one.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://two.example/debian
Suites: bookworm
"""


def test_packages_come_from_where_this_machine_has_its_own(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/other.list").write_text("deb https://packages.test/apt bookworm main\n")
    assert debian_addresses(tmp_path) == {
        "bookworm": "http://one.example/debian",
        "bookworm-updates": "http://one.example/debian",
        "bookworm-security": "http://one.example/debian-security",
    }


def test_old_style_sources_are_read(tmp_path):
    (tmp_path / "sources.list").write_text(
        "# deb http://no.test/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://one.example/debian/ bookworm main contrib\n"
        "deb-src http://src.test/debian bookworm main\n"
        "deb http://one.example/debian-security bookworm-security main\n"
    )
    assert debian_addresses(tmp_path) == {
        "bookworm": "http://one.example/debian/",
        "bookworm-security": "http://one.example/debian-security",
    }


def test_another_release_is_told(tmp_path):
    (tmp_path / "sources.list").write_text("deb http://one.example/debian trixie main\n")
    with pytest.raises(HostError, match=r"no source of Debian 12 \(bookworm\).*Build it on Debian 12"):
        debian_addresses(tmp_path)


def test_a_command_that_fails_is_quoted():
    with pytest.raises(HostError, match=r"Could not read: sh says: E: Unable to fetch.*Check the mirror"):
        run(["sh", "-c", "echo E: Unable to fetch >&2; exit 100"], what="read", todo="Check the mirror.")
    with pytest.raises(HostError, match=r"Cannot run 'no-such-tool'.*needed to dig"):
        run(["no-such-tool"], what="dig")


def test_every_source_beside_the_builder_goes_into_the_image():
    here = Path(build.__file__).parent
    on_disk = {path.name for path in here.iterdir() if path.suffix in {".c", ".h", ".sh", ".sql"}}
    assert on_disk == {*_OWN, *_USERS, "users.h", "initrd_init.sh"}
