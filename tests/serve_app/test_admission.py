"""Admission: what finds room, what is told to come back, and what is given back."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import Overloaded
from serve_app.admission import Admission
from serve_app.settings import MIB, ServeSettings
from serve_app.work import Priority

SETTINGS = ServeSettings(max_batch_size=1, max_image_bytes=MIB, max_batch_bytes=MIB)
"""Sixteen images, eight of them bulk, of 13 MiB each."""

INTERACTIVE, BULK = Priority


def test_the_limits_of_these_tests() -> None:
    assert (SETTINGS.max_waiting, SETTINGS.max_waiting_bulk) == (16, 8)
    assert SETTINGS.max_waiting_bytes == 16 * 13 * MIB


def test_room_is_held_and_given_back() -> None:
    admission = Admission(SETTINGS)
    with admission.admit(10, 5 * MIB, INTERACTIVE):
        assert admission.images == 10
        with admission.admit(6, 5 * MIB, INTERACTIVE):
            assert admission.images == 16
            with pytest.raises(Overloaded):
                admission.check()
        admission.check(6)
    assert (admission.images, admission.rejected) == (0, 1)
    admission.check(16)


def test_a_failure_gives_its_places_back() -> None:
    admission = Admission(SETTINGS)
    with pytest.raises(KeyError), admission.admit(16, 16 * 13 * MIB, INTERACTIVE):
        raise KeyError
    assert admission.images == 0
    admission.check(16, 16 * 13 * MIB)


def test_what_is_refused_takes_no_place() -> None:
    admission = Admission(SETTINGS)
    with admission.admit(16, 0, INTERACTIVE):
        for _ in range(3):
            with pytest.raises(Overloaded), admission.admit(2, MIB, INTERACTIVE):
                pytest.fail("there is no room")
    assert (admission.images, admission.rejected) == (0, 6)
    admission.check(16, 16 * 13 * MIB)


def test_bulk_work_leaves_half_of_the_places() -> None:
    admission = Admission(SETTINGS)
    with admission.admit(8, 0, BULK):
        with pytest.raises(Overloaded, match="of series"):
            admission.check(priority=BULK)
        with admission.admit(8, 0, INTERACTIVE):
            assert admission.images == 16


def test_bulk_work_is_refused_too_where_interactive_work_fills_the_place() -> None:
    admission = Admission(SETTINGS)
    with admission.admit(15, 0, INTERACTIVE):
        admission.check(1, 0, BULK)
        with pytest.raises(Overloaded):
            admission.check(2, 0, BULK)


def test_bytes_have_a_limit_of_their_own() -> None:
    admission = Admission(SETTINGS)
    with admission.admit(1, SETTINGS.max_waiting_bytes - 1, INTERACTIVE):
        admission.check(1, 1)
        with pytest.raises(Overloaded):
            admission.check(1, 2)


def test_bulk_work_takes_half_of_the_bytes_only() -> None:
    admission = Admission(SETTINGS)
    with admission.admit(1, SETTINGS.max_waiting_bulk_bytes, BULK):
        with pytest.raises(Overloaded, match="of series"):
            admission.check(1, 1, BULK)
        admission.check(1, SETTINGS.max_waiting_bulk_bytes, INTERACTIVE)


def test_the_refusal_says_what_to_do() -> None:
    admission = Admission(SETTINGS)
    with admission.admit(16, 0, INTERACTIVE), pytest.raises(Overloaded) as raised:
        admission.check()
    error = raised.value
    assert (error.status, error.code, error.retry_after_s) == (503, "overloaded", 1)
    assert error.message.startswith("16 images are waiting")
    assert "Send the request again" in error.message


REQUESTS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 60), st.sampled_from(Priority), st.booleans()),
    max_size=40,
)


@given(REQUESTS)
def test_the_limits_hold_whatever_comes_and_goes(
    requests: list[tuple[int, int, Priority, bool]],
) -> None:
    admission = Admission(SETTINGS)
    held: list[tuple[int, int, Priority, ExitStack]] = []
    rejected = 0
    for images, mib, priority, one_leaves in requests:
        if one_leaves and held:
            held.pop(0)[3].close()
        stack = ExitStack()
        now = sum(each[0] for each in held)
        bulk = sum(each[0] for each in held if each[2] is BULK)
        room = now + images <= 16 and sum(each[1] for each in held) + mib <= 16 * 13
        if priority is BULK:
            room = room and bulk + images <= 8
            room = room and sum(each[1] for each in held if each[2] is BULK) + mib <= 8 * 13
        try:
            stack.enter_context(admission.admit(images, mib * MIB, priority))
        except Overloaded:
            rejected += images
            assert not room
        else:
            held.append((images, mib, priority, stack))
            assert room
        assert admission.images == sum(each[0] for each in held)
        assert admission.rejected == rejected
    for *_, stack in held:
        stack.close()
    assert admission.images == 0
    admission.check(16, 16 * 13 * MIB)
