"""How long encodings get, against real bytes through the encoder."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from migsim.errors import ParameterError
from migsim.models.xbzrle.content import encoding_by_writes, expected_encoding
from migsim.models.xbzrle.encoding import encode, page_change
from migsim.models.xbzrle.page_contents import PageWrites, guest_writes
from migsim.trace import Trace


def written_pages(content, numbers, seed=1):
    """Real pages before and after `numbers` writes each, of random data."""
    rng = np.random.default_rng(seed)
    old = rng.integers(0, 256, (len(numbers), 4096), dtype=np.uint8)
    new = old.copy()
    for page, number in enumerate(numbers):
        place = (rng.integers(content.places) + np.arange(number)) % content.places
        if not content.in_order:
            place = np.unique(rng.integers(content.places, size=number))
        begin = np.minimum(place * content.step, 4096 - content.bytes_a_write)
        covered = np.zeros(4097, int)
        np.add.at(covered, begin, 1)
        np.add.at(covered, begin + content.bytes_a_write, -1)
        written = np.cumsum(covered)[:4096] > 0
        new[page, written] = rng.integers(0, 256, int(written.sum()), dtype=np.uint8)
    return old, new


def close(seen, expected, *, spread=4.5):
    """Within chance of the mean; at least a thousandth."""
    error = seen.std() / np.sqrt(len(seen))
    assert float(expected) == pytest.approx(seen.mean(), abs=spread * error + 0.001 * seen.mean())


CASES = [
    (PageWrites(8), [1, 2, 7, 60, 300]),
    (PageWrites(4, 1024), [1, 3, 400]),
    (PageWrites(2, 2048), [2, 600]),
    (PageWrites(1, 4096), [2, 500]),
    (PageWrites(4), [3, 200]),  # gaps that are never filled
    (PageWrites(16), [2, 120]),
    (PageWrites(100), [1, 30]),
    (PageWrites(256), [1, 12]),
    (PageWrites(1024), [1, 4]),
]


@pytest.mark.parametrize(
    ("content", "number"), [(content, number) for content, numbers in CASES for number in numbers]
)
def test_after_so_many_writes(content, number):
    """A thousand pages, each written so often."""
    change = page_change(*written_pages(content, [number] * 1000))
    law = encoding_by_writes(content, number, exactly=True)
    close(change.changed_bytes, law.changed_bytes[0])
    close(change.runs, law.runs[0])
    assert (change.xbzrle_bytes >= 0).all()
    close(change.xbzrle_bytes, law.length_bytes[0])
    assert law.overflow_fraction[0] < 0.01


@pytest.mark.parametrize("content", [PageWrites(8), PageWrites(64)])
@pytest.mark.parametrize("mean", [0.3, 2.0, 25.0])
def test_after_so_many_writes_in_the_mean(content, mean):
    numbers = np.random.default_rng(2).poisson(mean, 4000)
    change = page_change(*written_pages(content, numbers))
    hit = numbers > 0
    law = encoding_by_writes(content, mean)
    close(change.changed_bytes[hit], law.changed_bytes[0])
    close(change.runs[hit], law.runs[0])
    close(change.xbzrle_bytes[hit], law.encoded_bytes[0])
    made = expected_encoding(content, mean)
    assert made.unchanged_fraction == pytest.approx(np.mean(~hit), abs=0.02)
    assert made.encoded_bytes == pytest.approx(law.encoded_bytes[0], rel=0.001)


@pytest.mark.parametrize(
    ("content", "mean"),
    [
        (PageWrites(8), 2080),
        (PageWrites(8), 2300),
        (PageWrites(8), 2800),
        (PageWrites(4, 1024), 4200),
        (PageWrites(2, 2048), 5700),
        (PageWrites(1, 4096), 2840),
        (PageWrites(64), 300),
        (PageWrites(256), 80),
    ],
)
def test_overflow_on_the_edge(content, mean):
    numbers = np.random.default_rng(3).poisson(mean, 500)
    length = page_change(*written_pages(content, np.maximum(numbers, 1))).xbzrle_bytes
    over = length < 0
    assert 0.02 < over.mean() < 0.98
    law = encoding_by_writes(content, mean)
    assert law.overflow_fraction[0] == pytest.approx(over.mean(), abs=0.06)
    assert law.encoded_bytes[0] == pytest.approx(length[~over].mean(), rel=0.005)
    made = expected_encoding(content, mean)
    assert made.overflow_fraction == pytest.approx(law.overflow_fraction[0], abs=0.02)


def test_a_page_replaced_whole_overflows():
    content = PageWrites(4096, 1)
    assert (page_change(*written_pages(content, [1] * 100)).xbzrle_bytes == -1).all()
    law = encoding_by_writes(content, [0.01, 1.0, 50.0])
    assert law.overflow_fraction == pytest.approx(1.0)
    assert law.runs == pytest.approx(17, abs=0.1)
    assert expected_encoding(content, 1.0).overflow_fraction == pytest.approx(1 - np.exp(-1))


@pytest.mark.parametrize(("bytes_a_write", "number"), [(8, 1), (8, 12), (8, 300), (4, 9), (100, 3), (8, 500)])
def test_writes_in_order_leave_one_run(bytes_a_write, number):
    content = guest_writes(bytes_a_write, in_order=True)
    content = PageWrites(
        content.bytes_a_write, content.places, in_order=True
    )  # data without a generator's ways
    change = page_change(*written_pages(content, [number] * 800))
    law = encoding_by_writes(content, number, exactly=True)
    # A write pushed down at the page's end overlaps its neighbours: not in the law.
    slack = 0.04 if bytes_a_write > 8 else 0.004
    assert law.changed_bytes[0] == pytest.approx(change.changed_bytes.mean(), rel=slack)
    assert law.runs[0] == pytest.approx(change.runs.mean(), rel=0.03)
    assert law.encoded_bytes[0] == pytest.approx(change.xbzrle_bytes.mean(), rel=slack)


def test_a_sweep_that_did_not_come_by_leaves_the_page_alone():
    content = guest_writes(8, in_order=True)
    made = expected_encoding(content, 0.8)
    assert made.unchanged_fraction == pytest.approx(0.2)
    assert made.encoded_bytes == pytest.approx(11, abs=0.1)
    assert expected_encoding(content, 2.5).unchanged_fraction == 0
    two, three = encoding_by_writes(content, [2, 3], exactly=True).length_bytes
    assert expected_encoding(content, 2.5).encoded_bytes == pytest.approx((two + three) / 2, rel=0.01)


def guest_twin(changed_bytes, span_pages, writes, state=0x9E3779B97F4A7C15):
    """What writes.S does for ``random``, ``bytes``, a store at a time; contents before and after `writes` stores."""
    memory = bytearray(span_pages * 4096)
    counts = np.zeros(span_pages, int)
    whole = changed_bytes // 8 * 8
    fill = 7 * len(memory) // changed_bytes  # by then (nearly) every place holds an earlier write
    for n in range(fill + writes):
        if n == fill:
            before, counts[:] = bytes(memory), 0
        state = state * 0xAF251AF3B0F025B5 % 2**64
        at = state * len(memory) >> 64
        data = state.to_bytes(8, "little")
        if changed_bytes in (1, 2, 4, 8):
            at -= at % changed_bytes
        else:
            at -= at % 8
            at -= max(at % 4096 + changed_bytes - 4096, 0)
            data = (data * changed_bytes)[:whole] + data[:1] * (changed_bytes - whole)
        memory[at : at + changed_bytes] = data[:changed_bytes]
        counts[at // 4096] += 1
    pages = [np.frombuffer(bytes(m), np.uint8).reshape(-1, 4096) for m in (before, memory)]
    return *pages, counts


@pytest.mark.parametrize("changed_bytes", [4, 8, 24, 100])
def test_our_guests_writes(changed_bytes):
    pages, mean = 100, 6.0
    old, new, counts = guest_twin(changed_bytes, pages, int(pages * mean))
    change = page_change(old, new)
    hit = counts > 0
    law = encoding_by_writes(guest_writes(changed_bytes, span_pages=pages), counts[hit], exactly=True)
    for seen, expected in [
        (change.changed_bytes[hit], law.changed_bytes),
        (change.runs[hit], law.runs),
        (change.xbzrle_bytes[hit], law.length_bytes),
    ]:
        off = seen - expected
        assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off)) + 0.001 * seen.mean()
    assert abs(np.corrcoef(change.xbzrle_bytes[hit], law.length_bytes)[0, 1]) > 0.95


@pytest.mark.parametrize(("name", "span"), [("idle-1g", 200), ("full-128g", 5000)])
def test_runs_and_lengths_in_traces_of_our_guest(name, span):
    """Guests that wrote their few pages over long before: from the bytes changed follow the runs and the length."""
    content = Trace.open(Path(__file__).parents[3] / "traces" / f"{name}.trace").content
    seen = content[(content["changed_bytes"] > 0) & content["page"].between(4096, 4095 + span)]
    edges = seen["changed_bytes"].quantile([0, 0.33, 0.66, 0.9]).to_numpy()
    means = np.geomspace(0.01, 3000, 300)
    law = encoding_by_writes(guest_writes(8, span_pages=span), means)
    for low, high in pairwise(edges):
        part = seen[seen["changed_bytes"].between(low, high)]
        assert (part["xbzrle_bytes"] > 0).all()
        at = np.interp(part["changed_bytes"].mean(), law.changed_bytes, means)
        assert np.interp(at, means, law.runs) == pytest.approx(part["runs"].mean(), rel=0.015)
        assert np.interp(at, means, law.length_bytes) == pytest.approx(part["xbzrle_bytes"].mean(), rel=0.015)


def test_first_bytes_of_our_guests_words_agree_once_in_64_times():
    state, lows = 1, set()
    for _ in range(1000):
        state = state * 0xAF251AF3B0F025B5 % 2**64
        lows.add(state & 255)
    assert len(lows) == 64
    seldom, often = PageWrites(1, 4096), guest_writes(1)
    ratio = encoding_by_writes(often, 10).changed_bytes / encoding_by_writes(seldom, 10).changed_bytes
    assert ratio[0] == pytest.approx((63 / 64) / (255 / 256))


def test_more_writes_never_make_less():
    for content in (PageWrites(8), PageWrites(1, 4096), PageWrites(200), guest_writes(8, in_order=True)):
        law = encoding_by_writes(content, np.geomspace(0.01, 1e5, 60))
        assert (np.diff(law.changed_bytes) > -1e-6).all()
        assert (np.diff(law.overflow_fraction) > -1e-6).all()
        assert ((law.encoded_bytes > 0) & (law.encoded_bytes < 4096.001)).all()
        assert (law.encoded_bytes <= law.length_bytes + 1e-6).all()


def test_the_encoder_agrees_that_one_write_is_eleven_bytes():
    """A store of 8 bytes far inside the page: two bytes of equal run, one of changed run, eight new ones."""
    new = bytearray(4096)
    new[2000:2008] = bytes(range(1, 9))
    assert len(encode(bytes(4096), bytes(new))) == 11
    near = (16 * 10 + 496 * 11) / 512  # the first sixteen places begin with a short run
    expected = encoding_by_writes(PageWrites(8, same_fraction=0.0), 1, exactly=True).length_bytes[0]
    assert expected == pytest.approx(near)


def test_what_no_page_has():
    for wrong in [dict(bytes_a_write=0), dict(bytes_a_write=4097), dict(bytes_a_write=8, places=500)]:
        with pytest.raises(ParameterError):
            PageWrites(**wrong)
    with pytest.raises(ParameterError, match="pages that were written"):
        encoding_by_writes(PageWrites(8), [1.0, 0.0])
    assert expected_encoding(PageWrites(8), 0.0) == (0.0, 0.0, 1.0)
