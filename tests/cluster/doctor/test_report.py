"""The report, as a table and as JSON."""

from __future__ import annotations

import io
import json

from rich.console import Console

from cluster.doctor.examination import Examined
from cluster.doctor.finding import not_checked, ok, warning, wrong
from cluster.doctor.report import counts, document, summary, table

EXAMINED = [
    Examined("Server", (ok("It answers."), not_checked("Nobody knows [bold]why[/]."))),
    Examined("Disk", (wrong("It is full.", "Free some space."), warning("It is old.", "Buy one."))),
]


def _text() -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(EXAMINED))
    console.print(summary(EXAMINED))
    return console.export_text()


def test_people_read_everything() -> None:
    text = _text()
    for part in ("Server", "It answers.", "It is full.", "Free some space.", "wrong", "warning"):
        assert part in text
    assert "[bold]why[/]" in text
    assert text.count("Disk") == 1
    assert "1 wrong, 1 warning, 1 not checked, 1 ok." in text


def test_programs_read_everything() -> None:
    assert json.loads(json.dumps(document(EXAMINED))) == {
        "findings": [
            {"subject": "Server", "verdict": "ok", "message": "It answers.", "mend": None},
            {
                "subject": "Server",
                "verdict": "not checked",
                "message": "Nobody knows [bold]why[/].",
                "mend": None,
            },
            {
                "subject": "Disk",
                "verdict": "wrong",
                "message": "It is full.",
                "mend": "Free some space.",
            },
            {"subject": "Disk", "verdict": "warning", "message": "It is old.", "mend": "Buy one."},
        ],
        "counts": {"wrong": 1, "warning": 1, "not checked": 1, "ok": 1},
    }


def test_counts_of_nothing() -> None:
    assert set(counts([]).values()) == {0}
