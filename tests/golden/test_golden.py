"""Holds today's answers to the kept ones.

A law that changes on purpose moves them: `make golden` writes them anew and prints what moved, which is said under
*Model changes* in CHANGELOG.md.
"""

from __future__ import annotations

import json

import pytest

from tests.golden.answers import ask, differences, golden_file
from tests.golden.cases import VERBS

TOLERANCE = 1e-5
"""Relative. On another processor counts of bytes move by up to 4 in a million, by a page more or less: seen without
AVX2 and FMA (NPY_DISABLE_CPU_FEATURES, OPENBLAS_CORETYPE=Prescott, NUMBA_CPU_NAME=generic)."""

CASES = [(verb, question) for verb, questions in VERBS.items() for question in questions]


@pytest.mark.parametrize(("verb", "question"), CASES, ids=[" ".join(case) for case in CASES])
def test_an_answer_is_the_kept_one(verb: str, question: str) -> None:
    kept = json.loads(golden_file(verb).read_text(encoding="utf-8"))[question]
    moved = list(differences(kept, ask(verb, question), TOLERANCE))
    assert not moved, "\n".join(moved[:20])


def test_nothing_is_kept_that_nobody_asks() -> None:
    for verb, questions in VERBS.items():
        assert tuple(json.loads(golden_file(verb).read_text(encoding="utf-8"))) == questions
