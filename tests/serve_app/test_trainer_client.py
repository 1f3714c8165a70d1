"""The trainer's client: it finds the trainer when it is there, and says so when it is not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException

from models.errors import NotFound, RunActive, TrainerUnavailable
from serve_app.trainer_client import TrainerClient
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.trainer import InProcessTrainer


class _Finder:
    """Finds the trainer once it is deployed."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.deployed = True
        self.lookups = 0

    def __call__(self) -> Any:
        self.lookups += 1
        if not self.deployed:
            raise RayServeException("Application 'trainer' does not exist.")
        return self.handle


@pytest.fixture
def finder(trainer: InProcessTrainer) -> _Finder:
    return _Finder(InProcessHandle(trainer))


async def test_it_is_looked_up_once(finder: _Finder) -> None:
    client = TrainerClient(finder)
    assert finder.lookups == 0
    answers = await asyncio.gather(*(client.ask("waiting") for _ in range(20)))
    assert finder.lookups == 1
    assert all(answer["new_images"] == 0 for answer in answers)


async def test_a_trainer_that_is_not_deployed_and_then_is(finder: _Finder) -> None:
    client = TrainerClient(finder)
    finder.deployed = False
    for _ in range(3):
        with pytest.raises(TrainerUnavailable, match="trainer"):
            await client.ask("status")
    finder.deployed = True
    assert (await client.ask("status"))["state"] == "idle"


@pytest.mark.parametrize("error", [RayActorError(), RuntimeError("bug")], ids=["lost", "bug"])
async def test_a_trainer_that_is_lost_and_comes_back(
    finder: _Finder, trainer: InProcessTrainer, error: Exception
) -> None:
    client = TrainerClient(finder)
    trainer.error = error
    with pytest.raises(TrainerUnavailable) as raised:
        await client.ask("status")
    assert raised.value.retry_after_s
    assert "bug" not in raised.value.message
    trainer.error = None
    assert (await client.ask("status"))["state"] == "idle"
    assert finder.lookups == 2


async def test_its_own_errors_are_raised_as_they_are(
    finder: _Finder, trainer: InProcessTrainer
) -> None:
    client = TrainerClient(finder)
    await client.ask("start", "head", "test")
    with pytest.raises(RunActive):
        await client.ask("start", "head", "test")
    with pytest.raises(NotFound):
        await client.ask("model", "99")
    assert finder.lookups == 1


async def test_a_silent_trainer(finder: _Finder) -> None:
    class Silent:
        async def status(self) -> None:
            await asyncio.Event().wait()

    finder.handle = InProcessHandle(Silent())
    with pytest.raises(TrainerUnavailable):
        await TrainerClient(finder).ask("status", timeout_s=0.05)


async def test_a_silent_controller_holds_one_thread_and_no_event_loop(finder: _Finder) -> None:
    answered = threading.Event()
    lookups = []

    def find() -> Any:
        lookups.append(1)
        answered.wait(60)
        return finder.handle

    client = TrainerClient(find)
    results = await asyncio.gather(
        *(client.ask("status", timeout_s=0.05) for _ in range(20)), return_exceptions=True
    )
    assert {type(result) for result in results} == {TrainerUnavailable}
    again = await asyncio.gather(client.ask("status", timeout_s=0.05), return_exceptions=True)
    assert isinstance(again[0], TrainerUnavailable)
    assert len(lookups) == 1
    answered.set()
    assert (await client.ask("status"))["state"] == "idle"
    assert len(lookups) == 1
