"""The table of a batch and the file that is made of it."""

from __future__ import annotations

import csv
import io

from dashboard.batch_table import (
    CSV_COLUMNS,
    KINDS,
    BatchRow,
    batch_confusion,
    batch_csv,
    batch_sentences,
)
from tests.dashboard.answers import prediction

UNSURE = prediction("mel", abstain={"abstain": True, "reason": "too_uncertain"})
ROWS = [
    BatchRow("a.jpg", prediction("nv", prediction_set=["nv", "bkl"]), None, "nv"),
    BatchRow("b.jpg", UNSURE, None, "nv", "data:image/jpeg;base64,"),
    BatchRow("=c.jpg", None, "It is empty. Choose it anew."),
]


def test_what_is_shown() -> None:
    first, second, third = (row.shown() for row in ROWS)
    assert first["Diagnosis"] == "Melanocytic nevus"
    assert first["Risk"] == "○ Low risk"
    assert first["Note"] == "Or Benign keratosis-like lesion"
    assert (second["Risk"], second["Closer look"]) == ("● High risk", "yes")
    assert second["Note"] == "Abstains: too uncertain"
    assert third["Diagnosis"] is None
    assert third["Note"] == "It is empty. Choose it anew."
    assert list(first) == list(third)


def test_what_is_exported() -> None:
    text = batch_csv(ROWS).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["file"] for row in rows] == ["a.jpg", "b.jpg", "'=c.jpg"]
    assert rows[0]["prediction_set"] == "nv bkl"
    assert rows[1]["abstain"] == "too_uncertain"
    assert rows[2]["error"] == "It is empty. Choose it anew."
    assert sum(float(rows[0][f"p_{code}"]) for code in ("nv", "mel")) == 0.9


def test_what_stands_out() -> None:
    found, flagged, failed = batch_sentences(ROWS)
    assert found.startswith("2 pictures classified")
    assert flagged.startswith("1 picture calls for a closer look")
    assert "abstains on 1" in flagged
    assert failed.startswith("1 file could not be classified")
    assert batch_sentences([]) == []


def test_rows_that_a_reader_may_want_alone() -> None:
    names = {kind: [row.file for row in ROWS if wanted(row)] for kind, wanted in KINDS.items()}
    assert names == {
        "All files": ["a.jpg", "b.jpg", "=c.jpg"],
        "Closer look": ["b.jpg"],
        "Abstained": ["b.jpg"],
        "Failed": ["=c.jpg"],
    }


def test_confusion_of_what_has_a_label() -> None:
    matrix = batch_confusion(ROWS)
    assert (matrix.images, matrix.right) == (2, 1)
