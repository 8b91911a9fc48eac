"""Probes' records in a folder and in an archive: what was added comes back, and damage is told."""

import zipfile

import pytest

from migsim.calibrate.host.probe_runs import KeptProbes, run_probes
from migsim.calibrate.host.probes import host_probes
from migsim.errors import HostError, MigsimError, RecordError
from migsim.results.record_file import record_text
from tests.calibrate.host.simulated_probes import QEMU, known, names
from validation.places import HOSTS

SOME = ("probe-data-1g", "probe-cold", "probe-hot-1g")


def filled(path, order=SOME):
    kept = KeptProbes(path)
    kept.prepare()
    for name in order:
        kept.add(f"{name}-1", known(name))
    return kept


def refused(error: MigsimError) -> str:
    assert error.what and error.rule and error.todo
    return str(error)


@pytest.mark.parametrize("place", ["today", "today.zip", "of/one/machine", "of/one/machine.zip", "BIG.ZIP"])
def test_what_was_added_comes_back_in_the_order_of_names(tmp_path, place):
    filled(tmp_path / place)
    kept = KeptProbes(tmp_path / place)
    assert kept.names() == ["probe-cold-1", "probe-data-1g-1", "probe-hot-1g-1"]
    assert [record_text(run) for run in kept] == [record_text(known(name)) for name in sorted(SOME)]
    assert record_text(kept.load("probe-cold-1")) == record_text(known("probe-cold"))


def test_the_place_decides_and_a_folder_stays_one(tmp_path):
    (tmp_path / "folder.zip").mkdir()
    assert filled(tmp_path / "folder.zip").names()
    assert sorted(path.name for path in (tmp_path / "folder.zip").iterdir()) == [
        f"{n}-1.json" for n in sorted(SOME)
    ]
    assert filled(tmp_path / "a.zip").names() and (tmp_path / "a.zip").is_file()


@pytest.mark.parametrize("place", ["none", "none.zip"])
def test_where_nothing_is_nothing_is_held_or_made(tmp_path, place):
    kept = KeptProbes(tmp_path / place)
    assert kept.names() == [] and list(kept) == []
    with pytest.raises(RecordError):
        kept.load("probe-cold-1")
    assert list(tmp_path.iterdir()) == []


def test_a_record_added_again_replaces_the_one_before(tmp_path):
    kept = filled(tmp_path / "a.zip")
    kept.add("probe-cold-1", known("probe-data-1g"))
    assert len(kept.names()) == 3
    assert kept.load("probe-cold-1").name == "probe-data-1g"


def test_the_same_records_make_the_same_archive(tmp_path):
    one, other = filled(tmp_path / "a.zip"), filled(tmp_path / "b.zip", order=SOME[::-1])
    assert one.path.read_bytes() == other.path.read_bytes()
    with zipfile.ZipFile(one.path) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_DEFLATED


def test_what_else_an_archive_holds_stays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    kept = filled(tmp_path / "a.zip")
    assert len(kept.names()) == 3
    with zipfile.ZipFile(kept.path) as archive:
        assert archive.read("notes.txt") == b"hello"


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    kept = filled(tmp_path / "a.zip")
    before = kept.path.read_bytes()

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(HostError, match="No space left"):
        kept.add("probe-hot-1g-2", known("probe-hot-1g"))
    assert kept.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [kept.path]


# What cannot be read or written


DAMAGES = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "noise": lambda whole: bytes(range(256)) * 20,
    "text": lambda whole: b"hello\n",
    "flipped": lambda whole: whole[:300] + bytes([whole[300] ^ 255]) + whole[301:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_archive_is_refused_before_a_probe_runs_and_left_as_it_is(tmp_path, monkeypatch, damage):
    path = filled(tmp_path / "a.zip").path
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    monkeypatch.setattr("migsim.lab.migrate.run_migration", lambda *_, **__: pytest.fail("a probe ran"))
    with pytest.raises(RecordError) as seen:
        run_probes([(probe, 1) for probe in host_probes(QEMU)], keep=path)
    assert f"Cannot read the records in {path}" in refused(seen.value)
    with pytest.raises(RecordError):
        KeptProbes(path).add("probe-cold-2", known("probe-cold"))
    assert path.read_bytes() == damaged


def test_every_byte_of_an_archive_that_is_flipped_is_told_or_does_not_matter(tmp_path):
    kept = KeptProbes(tmp_path / "a.zip")
    kept.add("probe-cold-1", known("probe-cold"))
    whole = kept.path.read_bytes()
    text, told = record_text(known("probe-cold")), 0
    for place in [*range(0, 60), *range(60, len(whole) - 140, 97), *range(len(whole) - 140, len(whole))]:
        kept.path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            held = [record_text(run) for run in kept]
        except RecordError as error:
            refused(error)
            told += 1
        else:
            assert held in ([text], []), place  # a name that is no record's any more
    assert told > 50


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (b"{", r"a\.zip: probe-cold-1\.json is not whole JSON"),
        (b'{"format": "other"}', r"a\.zip: probe-cold-1\.json is no migration record"),
        (b"\xff\xfe", "Cannot read the records in"),
        (b" " * (9 << 20), "claims 9437184 bytes; a record has at most 8388608"),
    ],
)
def test_a_damaged_record_in_an_archive_is_named(tmp_path, held, words):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("probe-cold-1.json", held)
    with pytest.raises(RecordError, match=words) as seen:
        list(KeptProbes(tmp_path / "a.zip"))
    refused(seen.value)


def test_a_record_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"a\.zip holds no record 'probe-cold-2'") as seen:
        filled(tmp_path / "a.zip").load("probe-cold-2")
    refused(seen.value)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "host.json").write_text("{}")
    with pytest.raises(RecordError, match=r"host\.json is a file that does not end in \.zip") as seen:
        KeptProbes(tmp_path / "host.json")
    refused(seen.value)


@pytest.mark.parametrize("place", ["file/records", "file/records.zip"])
def test_a_place_that_cannot_be_made_is_refused_before_a_probe_runs(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("migsim.lab.migrate.run_migration", lambda *_, **__: pytest.fail("a probe ran"))
    with pytest.raises(HostError) as seen:
        run_probes([(probe, 1) for probe in host_probes(QEMU)], keep=tmp_path / place)
    refused(seen.value)


@pytest.mark.parametrize("path", sorted(HOSTS.glob("probes-*.zip")), ids=lambda path: path.stem)
def test_recorded_archives_hold_probes_alone_in_order(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{name}.json" for name in KeptProbes(path).names()]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None


def test_names_are_those_of_the_probes():
    assert {name.rpartition("-")[0] for name in KeptProbes(HOSTS / "probes-10.0.zip").names()} == set(names())
