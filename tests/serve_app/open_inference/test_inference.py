"""The terms of an inference: priorities and timeouts as clients write them."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import InvalidField
from serve_app.open_inference.inference import priority_of, timeout_of
from serve_app.work import Priority


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        ("interactive", Priority.INTERACTIVE),
        ("bulk", Priority.BULK),
        (1, Priority.INTERACTIVE),
        (2, Priority.BULK),
        (2**63, Priority.BULK),
    ],
)
def test_a_priority_is_a_name_or_a_number_of_triton(value: Any, priority: Priority) -> None:
    for images in (1, 2):
        assert priority_of({"priority": value}, images) == priority


def test_without_one_several_images_are_bulk() -> None:
    for parameters in ({}, {"priority": 0}):
        assert priority_of(parameters, 1) == Priority.INTERACTIVE
        assert priority_of(parameters, 2) == Priority.BULK


@pytest.mark.parametrize("value", ["urgent", "", -1, 1.0, True, None, [], {}])
def test_what_is_no_priority_is_refused(value: Any) -> None:
    with pytest.raises(InvalidField, match="priority"):
        priority_of({"priority": value}, 1)


def test_a_timeout_is_in_microseconds() -> None:
    assert timeout_of({"timeout": 1_500_000}) == 1.5
    assert timeout_of({"timeout": 2**64 - 1}) == pytest.approx(1.8e13, rel=0.1)
    assert timeout_of({}) is timeout_of({"timeout": 0}) is None


@pytest.mark.parametrize("value", ["1", -1, 0.5, True, None, []])
def test_what_is_no_timeout_is_refused(value: Any) -> None:
    with pytest.raises(InvalidField, match="timeout"):
        timeout_of({"timeout": value})
