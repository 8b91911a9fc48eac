import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.dirty.log import CHUNK_PAGES, protect_window, reported_pages
from migsim.qapi import QemuVersion

V = QemuVersion.parse
share = st.floats(0, 1)


def test_chunk_is_one_gib():
    assert CHUNK_PAGES * 4096 == 1 << 30


@pytest.mark.parametrize(
    ("version", "accel", "ring", "window"),
    [
        ("4.0", "kvm", False, "sync"),
        ("4.1", "kvm", False, "chunk"),
        ("10.0", "kvm", False, "chunk"),
        ("10.0", "kvm", True, "sync"),
        ("10.0", "tcg", False, "sync"),
    ],
)
def test_who_protects_when(version, accel, ring, window):
    assert protect_window(V(version), accel, ring) == window


@given(st.floats(1, 1e6), share, share, share, share)
def test_reported_pages_are_bounded_and_ordered(pages, unsent, sent, f0, f1):
    """Clearing a chunk later can only shorten the window, so it never reports more."""
    one = np.ones(1)
    unsent, sent = pages * unsent, pages * (1 - unsent) * sent
    since_sync, since_clear = max(f0, f1), min(f0, f1)
    args = (pages * one, unsent * one, sent * one)
    lazy = reported_pages(*args, since_sync * one, since_clear * one)[0]
    legacy = reported_pages(*args, since_sync * one, since_sync * one)[0]
    assert unsent - 1e-6 <= lazy <= legacy + 1e-6 <= pages + 2e-6
    assert reported_pages(*args, 0 * one, 0 * one)[0] == pytest.approx(unsent)
    assert reported_pages(*args, one, one)[0] == pytest.approx(pages)


def test_what_waits_is_counted_once():
    """Written or not, a page that is still queued is one set bit."""
    one = np.ones(1)
    for written in (0.0, 0.7, 1.0):
        assert reported_pages(50 * one, 50 * one, 0 * one, written * one, written * one)[0] == 50


def test_legacy_protection_resends_about_twice_as_much():
    """Section 3.6 of the law book: at low rates half of what is reported was written before it was sent."""
    rate_time = 0.05
    chunks = 400
    clear = (np.arange(chunks) + 0.5) / chunks  # chunk first touched at this part of the sweep
    pages = np.ones(chunks)
    legacy = 1 - np.exp(-rate_time)
    since_clear = 1 - np.exp(-rate_time * (1 - clear))
    lazy = reported_pages(pages, 0 * pages, pages, legacy * pages, since_clear).mean()
    assert lazy == pytest.approx(1 - (1 - np.exp(-rate_time)) / rate_time, rel=1e-4)
    assert legacy / lazy == pytest.approx(2, rel=0.02)
