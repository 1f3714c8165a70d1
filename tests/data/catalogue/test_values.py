"""Values that both databases can store."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.catalogue.values import MAX_TEXT, canonical_json, checked_text, storable
from models.errors import InvalidField

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_one_value_has_one_text(value: Any) -> None:
    text = canonical_json(value)
    assert text.isascii()
    assert canonical_json(json.loads(text)) == text


def test_the_order_of_keys_does_not_count() -> None:
    assert canonical_json({"b": 1, "a": (2, 3)}) == canonical_json({"a": [2, 3], "b": 1})
    assert canonical_json({"a": [2, 3]}) == '{"a":[2,3]}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_lacks_is_null(number: float) -> None:
    assert canonical_json({"loss": [number, 1.5]}) == '{"loss":[null,1.5]}'


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {None: 1}}, {"a": {1, 2}}, {"a": b"bytes"}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_of_ours_can_be_stored(text: str) -> None:
    stored = storable(text)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
    assert len(stored) == len(text)


@pytest.mark.parametrize("text", ["", " \n", "a\0b", "\ud800", "a\tb", "\u202e", "x" * 129])
def test_text_of_a_user_is_checked(text: str) -> None:
    with pytest.raises(InvalidField, match="lesion_id must be 1 to 128"):
        checked_text("lesion_id", text)


@pytest.mark.parametrize("text", [None, "a", "Läsion 7 <b>", "' OR 1=1 --", "x" * MAX_TEXT])
def test_text_of_a_user_is_kept_as_it_is(text: str | None) -> None:
    assert checked_text("lesion_id", text) == text
