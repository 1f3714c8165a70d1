"""Numbers, durations and lists as people read them, and text that is no Markdown."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dashboard.wording import (
    ago,
    at,
    count,
    duration,
    interval,
    listing,
    megabytes,
    percent,
    plain,
)
from tests.dashboard.answers import NOON


@pytest.mark.parametrize(
    ("share", "text"),
    [
        *[(0, "0.0"), (1, "100.0"), (0.1234, "12.3"), (0.0001, "< 0.1"), (0.9999, "> 99.9")],
        (0.001, "0.1"),
    ],
)
def test_shares(share: float, text: str) -> None:
    assert percent(share) == f"{text}\u00a0%"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(0.00345, "3.45 ms"), (0.5, "500 ms"), (2.44, "2.4 s"), (59.6, "60 s"), (90, "90 s")],
        *[(300, "5 min"), (7199, "120 min"), (7300, "2 h"), (300_000, "3 days")],
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == text


def test_moments() -> None:
    assert ago(NOON, NOON + timedelta(seconds=2)) == "just now"
    assert ago(NOON, NOON + timedelta(minutes=5)) == "5\u00a0min ago"
    assert at(NOON) == "2026-11-01 12:00"
    assert at(None) == ""


def test_counts_and_lists() -> None:
    assert (count(1, "image"), count(2009, "image")) == ("1 image", "2,009 images")
    assert count(2, "class", "classes") == "2 classes"
    assert [listing(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listing(["a", "b"], "or") == "a or b"
    assert (megabytes(2_500_000), megabytes(1500)) == ("2.5\u00a0MB", "1.5\u00a0kB")
    assert interval(0.5, 0.4, 0.6) == "0.500 (0.400 to 0.600)"
    assert interval(0.5, None, None) == "0.500"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lesion", "lesion"),
        ("![x](http://evil/x.png)", r"\!\[x\]\(http\:\/\/evil\/x\.png\)"),
        ("<b>", r"\<b\>"),
        ("a\n# b", r"a \# b"),
        ("$x$ :red[y]", r"\$x\$ \:red\[y\]"),
        ("\\", "\\\\"),
        ("12\u00a0%", "12\u00a0\\%"),
    ],
)
def test_text_that_is_no_markdown(text: str, shown: str) -> None:
    assert plain(text) == shown
