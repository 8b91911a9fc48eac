"""Writes the golden predictions anew, and says what moved: ``python -m tests.golden [VERB ...]``."""

from __future__ import annotations

import json
import sys

from migsim.files import write_text_atomically
from tests.golden.answers import Answer, ask, differences, golden_file
from tests.golden.cases import VERBS


def main(verbs: list[str]) -> None:
    """Ask every question of the verbs, print each figure that differs from the kept one, keep the new ones."""
    moved = 0
    for verb in verbs:
        path = golden_file(verb)
        before: Answer = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        answers: Answer = {}
        for question in VERBS[verb]:
            answers[question] = ask(verb, question)
            if question not in before:
                print(f"{verb} {question}: asked for the first time")
                continue
            for line in differences(before[question], answers[question], 0.0):
                moved += 1
                print(f"{verb} {question}: {line}")
        write_text_atomically(path, json.dumps(answers, indent=1) + "\n")
    print(f"{moved} values moved.", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:] or list(VERBS))
