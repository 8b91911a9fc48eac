"""A folder is an image of the Linux guest only when it is whole and of today's sources."""

import hashlib
import json
import stat

import pytest

from migsim.errors import HostError, ParameterError
from migsim.lab.linux_guest import LinuxImage, kernel_command_line
from migsim.lab.linux_guest import image as image_module
from migsim.lab.linux_guest.image import FILES, FORMAT, MANIFEST, sources_sha256
from migsim.lab.linux_guest.tree import write_initrd


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(name.encode() * 100)
    manifest = {
        "format": FORMAT,
        "kernel_release": "6.1.0-test",
        "packages": {"postgresql-15": "15.1"},
        "sizes_bytes": {name: len(name) * 100 for name in FILES},
        "sha256": {name: hashlib.sha256(name.encode() * 100).hexdigest() for name in FILES},
        "sources_sha256": sources_sha256(),
    }
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


def test_a_whole_image_is_read(folder):
    image = LinuxImage.load(folder, digests=True)
    assert image.kernel_release == "6.1.0-test"
    assert (image.kernel, image.initrd, image.root) == tuple(folder / name for name in FILES)


def test_no_manifest_is_no_image(folder):
    (folder / MANIFEST).unlink()
    with pytest.raises(HostError, match=r"never finished.*build-guest"):
        LinuxImage.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": 1}', '{"format": 99}', "\udcff"])
def test_a_broken_manifest_is_no_image(folder, text):
    (folder / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(HostError, match="no Linux guest"):
        LinuxImage.load(folder)


@pytest.mark.parametrize("lacking", ["sources_sha256", "sha256", "sizes_bytes", "packages", "kernel_release"])
def test_a_manifest_without_a_field_is_no_image(folder, lacking):
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest[lacking]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(HostError, match="no Linux guest"):
        LinuxImage.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_cut_or_changed_is_told(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(bytes(len(whole)))
    LinuxImage.load(folder)
    with pytest.raises(HostError, match=f"{name} is not what was built"):
        LinuxImage.load(folder, digests=True)
    (folder / name).write_bytes(whole[:-1])
    with pytest.raises(HostError, match=f"{name} is not what was built"):
        LinuxImage.load(folder)
    (folder / name).unlink()
    with pytest.raises(HostError, match=f"{name} is missing"):
        LinuxImage.load(folder)


def test_an_image_of_other_sources_is_stale(folder, tmp_path_factory, monkeypatch):
    changed = tmp_path_factory.mktemp("sources")
    for path in image_module._HERE.iterdir():
        if path.is_file():
            (changed / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(image_module, "_HERE", changed)
    LinuxImage.load(folder)
    with (changed / "schema.sql").open("a") as stream:
        stream.write("-- more\n")
    with pytest.raises(HostError, match="stale"):
        LinuxImage.load(folder)


def read_cpio(data):
    """A slow reader of "newc" archives, by the kernel's description of the format."""
    at, found = 0, {}
    while True:
        assert data[at : at + 6] == b"070701" and at % 4 == 0
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        begin = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[begin : begin + size])
        at = (begin + size + 3) // 4 * 4


def test_the_first_file_system_holds_init_busybox_and_the_disks_modules(tmp_path):
    kernel, root = tmp_path / "kernel", tmp_path / "root"
    modules = kernel / "usr/lib/modules/6.1/kernel/drivers"
    for name in ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"):
        (modules / "virtio").mkdir(parents=True, exist_ok=True)
        (modules / f"virtio/{name}.ko").write_text(name)
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/busybox").write_bytes(b"\x7fELF" + bytes(5))
    with pytest.raises(HostError, match=r"no drivers/block/virtio_blk\.ko"):
        write_initrd(kernel, root, tmp_path / "initrd")
    (modules / "block").mkdir()
    (modules / "block/virtio_blk.ko").write_text("virtio_blk")
    write_initrd(kernel, root, tmp_path / "initrd")
    found = read_cpio((tmp_path / "initrd").read_bytes())
    assert found["init"][1].startswith(b"#!/bin/busybox sh")
    assert stat.S_ISREG(found["init"][0]) and found["init"][0] & 0o111 == 0o111
    assert found["bin/busybox"][1] == b"\x7fELF" + bytes(5)
    assert {name for name, (mode, _) in found.items() if stat.S_ISDIR(mode)} >= {"proc", "dev", "sysroot"}
    loaded = found["init"][1].decode().split("for module in ")[1].split(";")[0].split()
    assert {f"modules/{name}.ko" for name in loaded} == {
        name for name in found if name.startswith("modules/")
    }
    assert all(found[f"modules/{name}.ko"][1] == name.encode() for name in loaded)


def test_the_command_line_holds_what_was_asked_for():
    line = kernel_command_line(users=3, think_ms=20, shared_buffers_percent=30, report_ms=250, seed=9)
    for word in (
        "workload=order-entry",
        "users=3",
        "think_ms=20",
        "shared_buffers_percent=30",
        "report_ms=250",
    ):
        assert f" migsim.{word}" in line
    assert "console=ttyS0" in line and line.endswith("migsim.seed=9") and len(line) < 1024


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"workload": "order-entri"}, "Did you mean 'order-entry'"),
        ({"workload": "x y"}, "order-entry, store, idle"),
        ({"users": 0}, "from 1 to 400"),
        ({"users": 2.5}, "users is 2.5"),
        ({"users": True}, "users is True"),
        ({"think_ms": -1}, "think_ms is -1"),
        ({"shared_buffers_percent": 90}, "from 5 to 60"),
        ({"report_ms": 1}, "report_ms is 1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_the_guest_would_refuse_is_refused_before(setting, said):
    with pytest.raises(ParameterError, match=said):
        kernel_command_line(**setting)
