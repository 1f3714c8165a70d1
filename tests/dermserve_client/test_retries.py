"""Retries: what is repeated, when, and for how long, on a clock of the test's own."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermserve_client import errors
from dermserve_client.errors import DermServeError, Refused, Unavailable, Unreachable
from dermserve_client.retries import Attempts, Retries

REQUEST = httpx.Request("POST", "http://user:secret@server:8000/predict?x=1")

KINDS = Refused.__subclasses__()
TRANSPORT_ERRORS = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.PoolTimeout,
    httpx.RemoteProtocolError,
    httpx.UnsupportedProtocol,
]
PASSING = {
    errors.Unavailable,
    errors.TooManyRequests,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
}


def _failure(kind: type[Exception]) -> Refused | httpx.RequestError:
    if issubclass(kind, Refused):
        return kind("No.", code="no", retry_after_s=1)
    assert issubclass(kind, httpx.RequestError)
    return kind("no", request=REQUEST)


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


waits = st.floats(0, 20) | st.none()
parts = st.floats(0, 1, exclude_max=True)
patience = st.builds(Retries, st.floats(0, 60), st.floats(0.001, 5), st.floats(0.001, 10))


@given(patience, st.lists(st.tuples(st.floats(0, 10), waits, parts), min_size=1, max_size=60))
def test_pauses_heed_the_server_and_end_in_time(
    retries: Retries, failures: list[tuple[float, float | None, float]]
) -> None:
    clock = _Clock()
    chance = iter([part for _, _, part in failures])
    attempts = Attempts(retries, clock=clock, chance=lambda: next(chance))
    for took_s, advised_s, _ in failures:
        clock.now += took_s
        failure = Unavailable("Full.", code="overloaded", retry_after_s=advised_s)
        try:
            pause_s = attempts.pause_after(failure)
        except Unavailable:
            longest_s = max(retries.first_s, retries.longest_s)
            assert clock.now + (advised_s or 0) + longest_s >= 1000 + retries.total_s
            return
        assert pause_s > (advised_s or 0)
        assert pause_s <= (advised_s or 0) + max(retries.first_s, retries.longest_s)
        clock.now += pause_s
        assert clock.now < 1000 + retries.total_s


def test_pauses_double_up_to_the_longest() -> None:
    retries = Retries(total_s=100, first_s=1, longest_s=8)
    attempts = Attempts(retries, clock=_Clock(), chance=lambda: 0.0)
    failure = Unavailable("Full.", code="overloaded")
    assert [attempts.pause_after(failure) for _ in range(6)] == [0.5, 1, 2, 4, 4, 4]


def test_clients_that_failed_together_do_not_come_back_together() -> None:
    failure = Unavailable("Full.", code="overloaded", retry_after_s=1)
    pauses = {Attempts(Retries()).pause_after(failure) for _ in range(20)}
    assert len(pauses) == 20


@pytest.mark.parametrize("kind", [*KINDS, *TRANSPORT_ERRORS])
def test_only_what_passes_is_repeated(kind: type[Exception]) -> None:
    failure = _failure(kind)
    if kind in PASSING:
        assert Attempts(Retries()).pause_after(failure) > 0
    else:
        with pytest.raises(DermServeError):
            Attempts(Retries()).pause_after(failure)


@pytest.mark.parametrize("kind", [*KINDS, *TRANSPORT_ERRORS])
def test_what_may_not_be_done_twice_is_not(kind: type[Exception]) -> None:
    with pytest.raises(DermServeError):
        Attempts(Retries(), repeatable=False).pause_after(_failure(kind))


def test_a_lost_answer_may_mean_that_it_was_done() -> None:
    with pytest.raises(Unreachable, match="may have done") as raised:
        Attempts(Retries(), repeatable=False).pause_after(_failure(httpx.ReadError))
    assert "http://server:8000 " in str(raised.value)
    assert "secret" not in str(raised.value)
    with pytest.raises(Unreachable, match="that the server runs") as raised:
        Attempts(Retries(), repeatable=False).pause_after(_failure(httpx.ConnectError))
    assert "may have done" not in str(raised.value)


@given(patience, st.floats(0.001, 60), st.lists(st.floats(0, 5), min_size=1))
def test_a_timeout_bounds_all_attempts_together(
    retries: Retries, timeout_s: float, durations_s: list[float]
) -> None:
    clock = _Clock()
    attempts = Attempts(retries, timeout_s=timeout_s, clock=clock)
    failure = Unavailable("Full.", code="overloaded")
    left_s = [attempts.left_s or 0]
    for took_s in durations_s:
        clock.now += took_s
        try:
            clock.now += attempts.pause_after(failure)
        except Unavailable:
            break
        assert clock.now < 1000 + timeout_s
        left_s.append(attempts.left_s or 0)
    assert left_s[0] == timeout_s
    assert left_s == sorted(left_s, reverse=True)
    assert left_s[-1] > 0


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_a_timeout_is_above_zero(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Attempts(Retries(), timeout_s=timeout_s)
