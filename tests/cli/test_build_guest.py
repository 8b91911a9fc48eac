"""`migsim lab build-guest`: it builds where there is none, keeps what is whole, and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from migsim.cli import main
from migsim.errors import HostError
from migsim.lab import linux_guest
from migsim.lab.linux_guest import LinuxImage


class Images:
    """Plays builder and loader: a folder holds an image once it was built there."""

    def __init__(self) -> None:
        self.built: list[Path] = []

    def load(self, folder: Path, *, digests: bool = False) -> LinuxImage:
        if folder not in self.built:
            raise HostError(f"{folder} holds no Linux guest.", "rule", "todo")
        return LinuxImage(folder, "6.1.0", {}, {"root.img": 3 << 20}, {}, "0")

    def build(self, folder: Path, *, progress: object = None) -> LinuxImage:
        assert callable(progress)
        progress("downloading")
        if folder.name == "full":
            raise HostError("No space.", "The image needs 1 GiB.", "Make room.")
        self.built.append(folder)
        return self.load(folder)


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Images:
    played = Images()
    monkeypatch.setattr(linux_guest.LinuxImage, "load", played.load)
    monkeypatch.setattr(linux_guest, "build_image", played.build)
    return played


def build(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.run(["lab", "build-guest", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_it_is_built_once(images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "guest"
    assert build("-o", str(folder)) == 0
    first = capsys.readouterr()
    assert first.out == f"{folder} is built: Linux 6.1.0, 3 MiB\n"
    assert "downloading" in first.err and f"MIGSIM_LINUX_GUEST={folder}" in first.err
    assert build("-o", str(folder)) == 0
    again = capsys.readouterr()
    assert "exists already" in again.out and "downloading" not in again.err
    assert images.built == [folder]


def test_without_a_folder_it_goes_where_it_is_looked_for(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIGSIM_LINUX_GUEST", str(tmp_path / "here"))
    assert build() == 0
    assert images.built == [tmp_path / "here"]
    assert "MIGSIM_LINUX_GUEST" not in capsys.readouterr().err


def test_what_is_missing_is_said(images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build("-o", str(tmp_path / "full")) == 3
    said = capsys.readouterr()
    assert "No space. The image needs 1 GiB. Make room." in said.err and said.out == ""
