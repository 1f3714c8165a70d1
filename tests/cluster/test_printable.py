"""Printable text: nothing that a terminal acts upon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.printable import printable


@given(st.text(st.characters(), max_size=50))
def test_whatever_it_is_it_prints(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode("utf-8")


def test_what_prints_stays() -> None:
    assert printable("M\u00fcller [red] 3 \u00d7 4.jpg") == "M\u00fcller [red] 3 \u00d7 4.jpg"
    assert (
        printable("a\x1b]0;b\x07\r\n\x9b\u2028\udcff") == "a\\x1b]0;b\\x07\\r\\n\\x9b\\u2028\\xff"
    )
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"
