"""The second chance: who is answered when replicas die, and who takes how many with them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RequestCancelledError,
)

from models.errors import DermServeError, Overloaded, StageUnavailable
from serve_app.hop import is_replica_lost
from serve_app.second_chance import TRIES, SecondChance
from serve_app.work import Work
from tests.serve_app.virtual_time import clock, pass_s, run

BAD = "bad"
"""What no replica survives."""

MESSAGE_S = 0.01
PATIENCE_S = 20.0


class Replicas:
    """A stage that is one replica at a time: what kills it loses all that is under way."""

    def __init__(self) -> None:
        self.deaths = 0
        self.sent: list[list[str]] = []
        self.crowds: list[int] = []
        """How many messages were under way at each death."""
        self._under_way: set[asyncio.Future[list[Any]]] = set()

    async def send(self, works: list[Work[str]], until: float) -> list[Any]:
        texts = [work.payload for work in works]
        self.sent.append(texts)
        answer: asyncio.Future[list[Any]] = clock().create_future()
        self._under_way.add(answer)
        clock().call_later(MESSAGE_S, self._answer, texts, answer)
        try:
            return await answer
        finally:
            self._under_way.discard(answer)

    def die(self) -> None:
        self.deaths += 1
        self.crowds.append(len(self._under_way))
        for answer in self._under_way:
            if not answer.done():
                answer.set_exception(RayActorError())

    def _answer(self, texts: list[str], answer: asyncio.Future[list[Any]]) -> None:
        if answer.done():
            return
        if BAD in texts:
            self.die()
        else:
            answer.set_result([text.upper() for text in texts])


class Sender:
    """What `RemoteStage` does with a message, without its lanes."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.second_chance: SecondChance[str] = SecondChance(replicas.send)

    async def deliver(self, texts: list[str]) -> list[Any]:
        works = [Work(text) for text in texts]
        until = clock().time() + PATIENCE_S
        try:
            return await self._replicas.send(works, until)
        except Exception as error:
            return await self.second_chance.after(error, works, until)


async def _all(sender: Sender, messages: list[list[str]]) -> list[list[Any]]:
    task = asyncio.gather(*(sender.deliver(message) for message in messages))
    for _ in range(2000):
        if task.done():
            return list(await task)
        await pass_s(MESSAGE_S)
    raise AssertionError("nobody was answered")


@given(
    messages=st.lists(st.lists(st.just("good"), min_size=1, max_size=4), min_size=1, max_size=8),
    place=st.tuples(st.integers(0, 7), st.integers(0, 3)),
)
def test_of_all_that_was_under_way_only_the_image_at_fault_has_no_answer(
    messages: list[list[str]], place: tuple[int, int]
) -> None:
    async def scenario() -> None:
        replicas = Replicas()
        culprit = messages[place[0] % len(messages)]
        culprit[place[1] % len(culprit)] = BAD
        answers = await _all(Sender(replicas), messages)
        for message, answered in zip(messages, answers, strict=True):
            assert len(message) == len(answered)
            for text, answer in zip(message, answered, strict=True):
                assert isinstance(answer, StageUnavailable) if text == BAD else answer == "GOOD"
        assert replicas.deaths == TRIES
        assert replicas.crowds[1:] == [1] * (TRIES - 1)

    run(scenario())


@given(
    messages=st.lists(st.lists(st.just("good"), min_size=1, max_size=4), min_size=1, max_size=8),
    deaths=st.integers(0, TRIES - 1),
)
def test_replicas_that_die_by_themselves_cost_nothing(
    messages: list[list[str]], deaths: int
) -> None:
    async def scenario() -> None:
        replicas = Replicas()
        sender = Sender(replicas)
        task = asyncio.create_task(_all(sender, messages))
        for _ in range(deaths):
            await pass_s(0)
            replicas.die()
            await pass_s(0)
        assert [len(answers) for answers in await task] == [len(message) for message in messages]
        assert all(answer == "GOOD" for answers in task.result() for answer in answers)

    run(scenario())


def test_whoever_waits_for_its_turn_gives_up_in_time() -> None:
    """A replica that hangs after one that died: each gives up when its own time is over."""

    async def scenario() -> None:
        gave_up: list[float] = []

        async def send(works: list[Work[str]], until: float) -> list[Any]:
            await asyncio.sleep(max(0.0, until - clock().time()))
            gave_up.append(clock().time())
            raise RequestCancelledError("no answer in time")

        chance: SecondChance[str] = SecondChance(send)
        start = clock().time()
        calls = [
            asyncio.create_task(chance.after(RayActorError(), [Work("a")], start + PATIENCE_S + n))
            for n in range(3)
        ]
        await pass_s(1)
        for _ in range(30):
            await pass_s(1)
        results = [call.result() for call in calls]
        assert [type(result) for (result,) in results] == [StageUnavailable] * 3
        assert len(gave_up) == 3
        assert max(gave_up) <= start + PATIENCE_S + 3

    run(scenario())


def test_what_another_replica_would_say_too_is_not_sent_again() -> None:
    async def scenario() -> None:
        replicas = Replicas()
        sender = Sender(replicas)
        error = BackPressureError(num_queued_requests=1, max_queued_requests=1)
        for cause, expected in ((error, Overloaded), (ValueError("a bug"), DermServeError)):
            works = [Work("good"), Work("good")]
            answers = await sender.second_chance.after(cause, works, clock().time() + 1)
            assert [type(answer) for answer in answers] == [expected] * 2
        late = await sender.second_chance.after(RayActorError(), [Work("good")], clock().time())
        assert [type(answer) for answer in late] == [StageUnavailable]
        assert replicas.sent == []
        assert sender.second_chance.images == 0

    run(scenario())


def test_what_was_sent_again_is_counted() -> None:
    async def scenario() -> None:
        replicas = Replicas()
        sender = Sender(replicas)
        await _all(sender, [["good", BAD]])
        assert replicas.sent == [["good", BAD], ["good", BAD], ["good"], [BAD]]
        assert sender.second_chance.images == 4

    run(scenario())


def _grpc(code: StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata())


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ActorDiedError(), True),
        (ActorUnavailableError("gone", None), True),
        (_grpc(StatusCode.UNAVAILABLE), True),
        (_grpc(StatusCode.CANCELLED), True),
        (_grpc(StatusCode.RESOURCE_EXHAUSTED), False),
        (_grpc(StatusCode.UNAUTHENTICATED), False),
        (DeploymentUnavailableError(DeploymentID("classifier", "dermserve")), False),
        (asyncio.CancelledError(), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_which_errors_mean_that_a_replica_was_lost(error: BaseException, lost: bool) -> None:
    assert is_replica_lost(error) is lost
