"""The shipped image is built from the sources that lie beside it."""

import ctypes
import hashlib
import json
import subprocess

import numpy as np
import pytest

from migsim.errors import HostError
from migsim.lab.guest import build_image, image_path
from migsim.lab.guest.build import BUILD_RECORD, HERE, SOURCES, sources_sha256, toolchain
from migsim.lab.guest.zipf import BUCKETS, bucket_edges, page_shares


def test_shipped_image_belongs_to_the_sources():
    record = json.loads(BUILD_RECORD.read_text())
    assert record["sources_sha256"] == sources_sha256(), "sources changed: run python -m migsim.lab.guest"
    assert record["image_sha256"] == hashlib.sha256(image_path().read_bytes()).hexdigest()
    on_disk = {p.name for p in HERE.iterdir() if p.suffix in {".c", ".h", ".S", ".ld"}}
    assert on_disk == set(SOURCES)
    assert image_path().stat().st_size < 40_000


def test_rebuilding_gives_the_shipped_bytes(tmp_path):
    """Byte for byte with the same compiler; another one's image is booted by the live tests instead."""
    built = build_image(tmp_path / "guest.bin").read_bytes()
    shipped = image_path().read_bytes()
    if toolchain() == json.loads(BUILD_RECORD.read_text())["toolchain"]:
        assert built == shipped
    assert built[:4] == shipped[:4] == (0x1BADB002).to_bytes(4, "little")
    assert built[4:12] == shipped[4:12]
    assert abs(len(built) - len(shipped)) < 8192


def test_missing_compiler_is_one_paragraph(tmp_path):
    with pytest.raises(HostError, match="no-such-gcc"):
        build_image(tmp_path / "guest.bin", gcc="no-such-gcc")
    assert not (tmp_path / "guest.bin").exists()


def test_failing_compiler_is_one_paragraph(tmp_path):
    with pytest.raises(HostError, match="failed"):
        build_image(tmp_path / "guest.bin", gcc="false")


@pytest.fixture(scope="module")
def zipf_library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zipf")
    source = folder / "zipf.c"
    source.write_text(
        '#include "zipf.h"\n'
        "void buckets(uint64_t n, int64_t s, uint64_t *starts, uint64_t *lengths)"
        "{ zipf_buckets(n, s, starts, lengths); }\n"
    )
    library = folder / "zipf.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", f"-I{HERE}", source, "-o", library], check=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize("pages", [1, 2, 100, 20_000, 1_000_000, (1 << 27) - 1])
@pytest.mark.parametrize("milli", [1, 300, 900, 999, 1000, 1001, 1100, 2000, 5000, 8000])
def test_integer_zipf_follows_the_law(zipf_library, pages, milli):
    starts, lengths = (ctypes.c_uint64 * BUCKETS)(), (ctypes.c_uint64 * BUCKETS)()
    zipf_library.buckets(ctypes.c_uint64(pages), ctypes.c_int64(milli), starts, lengths)
    got, sizes = np.array(starts, float), np.array(lengths, float)
    assert got[0] == 0
    assert (got[:-1] + sizes[:-1] == got[1:]).all()
    assert got[-1] + sizes[-1] == pages * 4096
    expected = bucket_edges(pages, milli / 1000)[:-1] * 4096
    np.testing.assert_allclose(got, expected, rtol=3e-5, atol=1.5)


def test_page_shares_sum_to_one_and_fall():
    shares = page_shares(5000, 0.8)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > shares[10] > shares[1000] > shares[4999] > 0
    # Zipf's own ratio, away from the first few ranks
    assert shares[99] / shares[999] == pytest.approx(10**0.8, rel=0.05)
