"""Confusion matrices and what is said of them."""

from __future__ import annotations

from dashboard.confusion import Confusion


def test_pairs_are_counted() -> None:
    matrix = Confusion.of([("mel", "mel"), ("mel", "nv"), ("nv", "nv"), ("other", "nv")])
    assert (matrix.images, matrix.right) == (3, 2)
    assert matrix.recalls() == {"mel": 0.5, "nv": 1.0}
    first, second, third = matrix.sentences()
    assert "2 images of 3" in first
    assert "75.0\u00a0%" in first
    assert "1 image labelled Melanoma was called Melanocytic nevus" in second
    assert third == "1 of 2 melanomas was given another class."


def test_all_right() -> None:
    matrix = Confusion.of([("mel", "mel")])
    assert matrix.sentences()[1:] == ["No melanoma of 1 was given another class."]


def test_nothing_to_count() -> None:
    assert Confusion.of([]).sentences() == ["No picture has both a label and a prediction."]
