"""CSV that spreadsheets open without running anything in it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermserve_client.csv_text import csv_bytes, safe_cell


def _read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\u00a0=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff201",
    ],
)
def test_a_formula_is_made_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["lesion.jpg", "a=b", "", 0.5, -0.5, 3, True])
def test_what_is_no_formula_stays(value: object) -> None:
    assert safe_cell(value) == value


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_no_cell_begins_a_formula(texts: list[str]) -> None:
    rows = _read(csv_bytes(["file"], [{"file": text} for text in texts]))
    assert rows[0] == ["file"]
    cells = [row[0] for row in rows[1:] if row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_cells_and_what_is_missing() -> None:
    data = csv_bytes(["a", "b"], [{"a": 'say "x", y', "b": None}, {"b": 1.5}])
    assert data.startswith(b"\xef\xbb\xbf")
    assert _read(data) == [["a", "b"], ['say "x", y', ""], ["", "1.5"]]
