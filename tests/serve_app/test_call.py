"""A call: errors come back as errors, in time, and nothing goes on for a caller who left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, RayServeException

from models.errors import (
    MISTAKE,
    DeadlineExceeded,
    DermServeError,
    NotFound,
    Overloaded,
    StageUnavailable,
    TrainerUnavailable,
)
from serve_app.call import call
from serve_app.hop import failure


class _Handle:
    """A handle whose replica answers, raises or never answers."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.options_given: dict[str, Any] = {}
        self.cancelled = asyncio.Event()
        self.raises_when_cancelled: type[BaseException] = asyncio.CancelledError

    def options(self, **options: Any) -> _Handle:
        self.options_given = options
        return self

    async def remote(self, *args: Any) -> Any:
        if self._answer is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise self.raises_when_cancelled from None
        if isinstance(self._answer, DermServeError):
            return self._answer
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer, args


async def _ask(handle: Any, timeout_s: float = 5.0) -> Any:
    return await call(handle, "method", 1, "two", timeout_s=timeout_s)


async def test_the_answer_of_a_method_by_value() -> None:
    handle = _Handle("answer")
    assert await _ask(handle) == ("answer", (1, "two"))
    assert handle.options_given == {
        "method_name": "method",
        "_by_reference": False,
        "request_serialization": "pickle",
        "response_serialization": "pickle",
    }


async def test_an_error_that_is_a_value_is_raised() -> None:
    error = NotFound("There is none.")
    with pytest.raises(NotFound) as raised:
        await _ask(_Handle(error))
    assert raised.value is error


FAILURES = [
    (RayActorError(), StageUnavailable),
    (TaskCancelledError(), StageUnavailable),
    (asyncio.CancelledError(), StageUnavailable),
    (BackPressureError(num_queued_requests=1, max_queued_requests=1), Overloaded),
]


@pytest.mark.parametrize(("error", "expected"), FAILURES, ids=lambda value: str(type(value)))
async def test_a_failed_call_is_an_error_of_ours(
    error: BaseException, expected: type[DermServeError]
) -> None:
    with pytest.raises(expected) as raised:
        await _ask(_Handle(error))
    same = failure(error)
    assert (type(same), same.message) == (expected, raised.value.message)


async def test_what_nobody_expects_says_nothing_of_the_inside() -> None:
    with pytest.raises(DermServeError) as raised:
        await _ask(_Handle(RayServeException("/home/somebody")))
    assert (type(raised.value), raised.value.message) == (DermServeError, MISTAKE)


async def test_the_caller_may_say_what_a_failure_means() -> None:
    handle: Any = _Handle(RuntimeError("gone"))
    failed = [lambda error: TrainerUnavailable(f"The trainer is away: {error}.")]
    with pytest.raises(TrainerUnavailable, match="gone"):
        await call(handle, "method", timeout_s=1, failed=failed[0])


@pytest.mark.parametrize("said", [asyncio.CancelledError, TaskCancelledError])
async def test_an_answer_that_does_not_come(said: type[BaseException]) -> None:
    handle = _Handle(None)
    handle.raises_when_cancelled = said  # Serve has said either
    with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
        await _ask(handle, timeout_s=0.05)
    await asyncio.wait_for(handle.cancelled.wait(), 5)


async def test_a_caller_who_leaves_takes_the_work_along() -> None:
    handle = _Handle(None)
    task = asyncio.create_task(_ask(handle))
    for _ in range(3):  # until the call has begun
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(handle.cancelled.wait(), 5)


class _Dying:
    """A handle whose replicas die, as many as the test says, before one answers."""

    def __init__(self, deaths: int, error: BaseException | None = None) -> None:
        self.asked = 0
        self._deaths = deaths
        self._error = error or RayActorError()

    def options(self, **_: Any) -> _Dying:
        return self

    async def remote(self, *args: Any) -> Any:
        self.asked += 1
        if self.asked <= self._deaths:
            raise self._error
        return "answer"


async def test_a_question_that_changes_nothing_is_asked_once_more() -> None:
    handle: Any = _Dying(1)
    assert await call(handle, "method", timeout_s=5, changes_nothing=True) == "answer"
    assert handle.asked == 2
    handle = _Dying(2)
    with pytest.raises(StageUnavailable):
        await call(handle, "method", timeout_s=5, changes_nothing=True)
    assert handle.asked == 2


async def test_what_may_change_something_is_asked_once() -> None:
    handle: Any = _Dying(1)
    with pytest.raises(StageUnavailable):
        await call(handle, "add", timeout_s=5)
    assert handle.asked == 1


async def test_an_error_that_another_replica_would_repeat_is_final() -> None:
    handle: Any = _Dying(1, BackPressureError(num_queued_requests=1, max_queued_requests=1))
    with pytest.raises(Overloaded):
        await call(handle, "method", timeout_s=5, changes_nothing=True)
    assert handle.asked == 1
