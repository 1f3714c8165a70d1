"""Work: its terms follow the payload through the stages."""

from __future__ import annotations

import dataclasses

import pytest

from models.errors import DeadlineExceeded
from serve_app.work import Priority, Work, expired


def test_interactive_work_is_the_default_and_goes_first() -> None:
    assert Work(b"x").priority is Priority.INTERACTIVE
    assert Work(b"x").deadline is None
    assert sorted(Priority) == [Priority.INTERACTIVE, Priority.BULK]


def test_the_next_stage_has_the_same_terms() -> None:
    work = Work(b"x", Priority.BULK, 12.5)
    assert work.of("pixels") == Work("pixels", Priority.BULK, 12.5)


def test_nobody_changes_the_terms() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Work(b"x").priority = Priority.BULK  # type: ignore[misc]


def test_the_error_of_a_passed_deadline_says_what_to_do() -> None:
    error = expired()
    assert isinstance(error, DeadlineExceeded)
    assert (error.status, error.code) == (504, "deadline_exceeded")
    assert "send the request again" in error.message
    assert expired() is not error  # one traceback per error
