"""When the guest's lines come."""

from __future__ import annotations

import time
from dataclasses import dataclass

from migsim.lab.guest_log import SerialWatch


@dataclass
class Guest:
    role: str
    said: str = ""
    console: str = ""

    def serial_text(self) -> str:
        return self.said

    def console_text(self) -> str:
        return self.console


def test_lines_are_stamped_when_they_are_first_seen_whole():
    source, destination = Guest("source", "boot\nready\n"), Guest("destination")
    heard = SerialWatch(source, destination)
    began = time.time()
    source.said += "progress 1\nprog"
    heard.stamp_new_lines()
    source.said += "ress 2\n"
    destination.said = "progress 3\n"
    heard.stamp_new_lines()
    destination.said += "progress 4\n"  # nobody looked since
    rows = heard.lines(began)
    assert [(row["side"], row["line"]) for row in rows] == [
        ("source", "boot"),
        ("source", "ready"),
        ("source", "progress 1"),
        ("source", "progress 2"),
        ("destination", "progress 3"),
        ("destination", "progress 4"),
    ]
    assert ["t_s" in row for row in rows] == [False, False, True, True, True, False]
    assert all(0 <= row["t_s"] < 5 for row in rows if "t_s" in row)
