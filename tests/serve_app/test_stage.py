"""A stage behind a handle: how its work travels, what goes first, and what a failure becomes."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, RayServeException

from models.errors import (
    MISTAKE,
    DeadlineExceeded,
    DermServeError,
    Overloaded,
    StageUnavailable,
    TruncatedImage,
)
from serve_app import second_chance
from serve_app.batching import QueueCounts
from serve_app.message import Message
from serve_app.settings import ServeSettings
from serve_app.shared_memory import NotShared, Place, SharedReader, host
from serve_app.stage import NOT_SHARED, RemoteStage, stage_of
from serve_app.work import Priority, Work
from tests.serve_app.gated_device import until
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.virtual_time import pass_s, run, settle

SETTINGS = ServeSettings(max_batch_size=16, hop_lanes=1)  # so four images in a message
BULK = Priority.BULK

needs_memory = pytest.mark.skipif(host() is None, reason="this system has no such memory")


class Replica:
    """Answers each file with its text in capitals, when the test lets it."""

    def __init__(self, *, reads_memory: bool = True) -> None:
        self.reads_memory = reads_memory
        self.error: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self.messages: list[Message] = []
        self.batches: list[list[str]] = []
        self._reader = SharedReader()

    async def receive(self, message: Message) -> Any:
        self.messages.append(message)
        if isinstance(message.content, Place) and not self.reads_memory:
            await asyncio.sleep(0)
            return NOT_SHARED
        try:
            works = message.images(self._reader)
        except NotShared:
            return NOT_SHARED
        texts = [work.payload.decode() for work in works]
        self.batches.append(texts)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [TruncatedImage(text) if text == "cut" else text.upper() for text in texts]

    async def status(self) -> dict[str, Any]:
        return {"status": "ok"}


class Dying(Replica):
    """Reads so many messages and dies over them."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    async def receive(self, message: Message) -> Any:
        answer = await super().receive(message)
        self._times -= 1
        if self._times >= 0:
            raise RayActorError
        return answer


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_chance, "_PAUSES_S", (0, 0))


def _stage(replica: Any, settings: ServeSettings = SETTINGS) -> RemoteStage[bytes]:
    handle: Any = InProcessHandle(replica)
    return RemoteStage(handle, settings)


def _works(*texts: str, **terms: Any) -> list[Work[bytes]]:
    return [Work(text.encode(), **terms) for text in texts]


def _submit(stage: RemoteStage[bytes], *texts: str, **terms: Any) -> asyncio.Task[list[Any]]:
    return asyncio.create_task(stage.classify(_works(*texts, **terms)))


def _descriptors() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += "memfd:dermserve" in os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
    return count


@pytest.fixture
def open_files() -> Callable[[], int]:
    """Descriptors of the test on memory of ours; whatever ran before may hold some."""
    gc.collect()
    before = _descriptors()
    return lambda: _descriptors() - before


def _ways(replica: Replica) -> list[str]:
    return ["memory" if isinstance(m.content, Place) else "value" for m in replica.messages]


@needs_memory
async def test_images_travel_through_one_file_after_the_other() -> None:
    replica = Replica()
    stage = _stage(replica)
    assert await stage.classify(_works("a", "b")) == ["A", "B"]
    assert await stage.classify(_works("c")) == ["C"]
    first, second = (message.content for message in replica.messages)
    assert isinstance(first, Place)
    assert first == second


@needs_memory
async def test_every_batch_under_way_has_a_file_of_its_own() -> None:
    replica = Replica()
    replica.gate = asyncio.Event()
    stage = _stage(replica, SETTINGS.model_copy(update={"hop_lanes": 3}))
    call = _submit(stage, *"abcdefghijkl")
    await until(lambda: len(replica.batches) == 3)
    assert len({message.content for message in replica.messages}) == 3  # type: ignore[arg-type]
    replica.gate.set()
    assert await call == list("ABCDEFGHIJKL")


async def test_an_operator_may_forbid_it() -> None:
    replica = Replica()
    stage = _stage(replica, SETTINGS.model_copy(update={"shared_memory": False}))
    assert await stage.classify(_works("a")) == ["A"]
    assert _ways(replica) == ["value"]


@needs_memory
async def test_a_replica_that_cannot_read_gets_the_images_themselves_from_then_on(
    open_files: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    replica = Replica(reads_memory=False)
    stage = _stage(replica)
    with caplog.at_level(logging.INFO, "ray.serve"):
        assert await stage.classify(_works("a", "b")) == ["A", "B"]
        assert await stage.classify(_works("c")) == ["C"]
    assert _ways(replica) == ["memory", "value", "value"]
    assert replica.batches == [["a", "b"], ["c"]]
    assert sum("inside the messages" in record.message for record in caplog.records) <= 1
    gc.collect()
    assert open_files() == 0


@needs_memory
async def test_batches_that_were_under_way_are_sent_again_once(
    open_files: Callable[[], int],
) -> None:
    replica = Replica(reads_memory=False)
    stage = _stage(replica, SETTINGS.model_copy(update={"hop_lanes": 2}))
    assert await stage.classify(_works(*"abcdefgh")) == list("ABCDEFGH")
    assert sorted(_ways(replica)) == ["memory", "memory", "value", "value"]
    assert sorted(replica.batches) == [list("abcd"), list("efgh")]
    gc.collect()
    assert open_files() == 0


def _refuse(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@needs_memory
@pytest.mark.parametrize("what", ["memfd_create", "pwritev"])
async def test_where_there_is_no_memory_images_travel_themselves(
    what: str, monkeypatch: pytest.MonkeyPatch, open_files: Callable[[], int]
) -> None:
    replica = Replica()
    stage = _stage(replica)
    monkeypatch.setattr(os, what, _refuse)
    assert await stage.classify(_works("a", "b")) == ["A", "B"]
    assert await stage.classify(_works("c")) == ["C"]
    assert _ways(replica) == ["value", "value"]
    assert open_files() == 0


@needs_memory
async def test_a_failed_call_leaves_no_file(open_files: Callable[[], int]) -> None:
    replica = Dying(times=1)
    stage = _stage(replica)
    assert await stage.classify(_works("b")) == ["B"]
    assert _ways(replica) == ["memory", "memory"]
    assert replica.messages[0].content != replica.messages[1].content
    assert open_files() == 2  # the sender's and the reader's, both of the second


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), Overloaded),
        (RayServeException("/home/somebody"), DermServeError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_a_failed_call_is_an_error_for_each_image_and_is_not_repeated(
    error: Exception, expected: type[DermServeError]
) -> None:
    replica = Replica()
    replica.error = error
    results = await _stage(replica).classify(_works("a", "b", "c"))
    assert [type(result) for result in results] == [expected] * 3
    assert replica.batches == [["a", "b", "c"]]
    if expected is DermServeError:
        assert str(results[0]) == MISTAKE


@pytest.mark.parametrize("error", [RayActorError(), TaskCancelledError()], ids=repr)
async def test_what_replicas_died_over_is_an_error_after_three_tries(error: Exception) -> None:
    replica = Replica()
    replica.error = error
    stage = _stage(replica)
    results = await stage.classify(_works("a", "b"))
    assert [type(result) for result in results] == [StageUnavailable] * 2
    assert replica.batches == [["a", "b"], ["a", "b"], ["a"], ["b"]]
    assert stage.sent_again == 4


@pytest.mark.parametrize("memory", [True, False])
async def test_nobody_notices_a_replica_that_dies(
    memory: bool, open_files: Callable[[], int]
) -> None:
    """The images are there until they are answered, however often they travel."""
    replica = Dying(times=2)
    stage = _stage(replica, SETTINGS.model_copy(update={"shared_memory": memory}))
    assert await stage.classify(_works("a", "cut", "c")) == ["A", ANY, "C"]
    assert replica.batches == [["a", "cut", "c"], ["a", "cut", "c"], ["a"], ["cut"], ["c"]]
    assert stage.sent_again == 6
    gc.collect()
    assert open_files() <= 2  # the sender's and the reader's, both of the last


async def test_a_call_that_was_cancelled_is_an_error_and_the_lane_goes_on() -> None:
    replica = Replica()
    stage = _stage(replica)
    replica.error = asyncio.CancelledError()
    (result,) = await stage.classify(_works("a"))
    assert isinstance(result, Exception)
    replica.error = None
    assert await stage.classify(_works("b")) == ["B"]


async def test_an_image_may_have_an_error_of_its_own() -> None:
    replica = Replica()
    first, second, third = await _stage(replica).classify(_works("a", "cut", "c"))
    assert (first, third) == ("A", "C")
    assert isinstance(second, TruncatedImage)


async def test_a_replica_that_answers_too_few() -> None:
    class Short:
        async def receive(self, message: Message) -> list[str]:
            return []

    results = await _stage(Short()).classify(_works("a", "b"))
    assert [type(result) for result in results] == [RuntimeError, RuntimeError]


async def test_interactive_work_overtakes_bulk_work_and_stays_in_small_messages() -> None:
    replica = Replica()
    replica.gate = asyncio.Event()
    stage = _stage(replica)
    calls = [_submit(stage, "block")]
    await until(lambda: replica.batches == [["block"]])
    calls += [_submit(stage, *"uvwxyz", priority=BULK), _submit(stage, "a"), _submit(stage, "b")]
    await until(lambda: stage.waiting == 8)
    replica.gate.set()
    results = await asyncio.gather(*calls)
    assert replica.batches[1:] == [["a", "b"], ["u", "v", "w", "x"], ["y", "z"]]
    assert [message.priorities for message in replica.messages[1:]] == [[0, 0], [1] * 4, [1] * 2]
    assert results[1:] == [["U", "V", "W", "X", "Y", "Z"], ["A"], ["B"]]
    assert (stage.counts.taken, stage.counts.batches) == (9, 4)


async def test_bulk_work_leaves_a_lane_to_interactive_work() -> None:
    replica = Replica()
    replica.gate = asyncio.Event()
    stage = _stage(replica, SETTINGS.model_copy(update={"hop_lanes": 3}))
    bulk = _submit(stage, *"abcdefghijkl", priority=BULK)
    await until(lambda: len(replica.batches) == 2)
    assert stage.waiting == 4
    one = _submit(stage, "x")
    await until(lambda: len(replica.batches) == 3)
    assert replica.batches == [list("abcd"), list("efgh"), ["x"]]
    replica.gate.set()
    assert await one == ["X"]
    assert await bulk == list("ABCDEFGHIJKL")
    assert stage.waiting == 0


async def test_a_message_has_so_many_bytes_at_most() -> None:
    settings = SETTINGS.model_copy(update={"max_image_bytes": 10})
    size = settings.max_hop_bytes // 2
    replica = Replica()
    texts = [letter * size for letter in "abc"]
    assert await _stage(replica, settings).classify(_works(*texts)) == [t.upper() for t in texts]
    assert [len(batch) for batch in replica.batches] == [2, 1]


def test_work_that_is_too_late_is_not_sent() -> None:
    async def scenario() -> None:
        replica = Replica()
        replica.gate = asyncio.Event()
        stage = _stage(replica)
        block = _submit(stage, "block")
        await settle()
        late = _submit(stage, "late", deadline=1002.0)
        kept = _submit(stage, "kept", deadline=1008.0)
        await pass_s(3)
        assert isinstance(late.result()[0], DeadlineExceeded)
        replica.gate.set()
        await settle()
        assert await asyncio.gather(block, kept) == [["BLOCK"], ["KEPT"]]
        assert replica.batches == [["block"], ["kept"]]
        assert replica.messages[1].remaining_s == [5.0]
        assert stage.counts == QueueCounts(taken=2, expired=1, batches=2, waited_s=3.0)

    run(scenario())


def test_a_replica_that_never_answers_holds_nobody_past_the_deadline() -> None:
    async def scenario() -> None:
        replica = Replica()
        replica.gate = asyncio.Event()
        call = _submit(_stage(replica), "a", deadline=1002.0)
        await pass_s(2)
        assert isinstance(call.result()[0], DeadlineExceeded)
        replica.gate.set()
        await settle()

    run(scenario())


async def test_a_caller_who_leaves_takes_no_neighbour_along() -> None:
    replica = Replica()
    replica.gate = asyncio.Event()
    stage = _stage(replica)
    block = _submit(stage, "block")
    await until(lambda: len(replica.batches) == 1)
    gone, kept = _submit(stage, "gone"), _submit(stage, "kept")
    unsent = _submit(stage, *"abc")
    await until(lambda: stage.waiting == 5)
    unsent.cancel()
    replica.gate.set()
    await until(lambda: len(replica.batches) == 2)
    gone.cancel()
    assert await asyncio.gather(block, kept) == [["BLOCK"], ["KEPT"]]
    assert replica.batches[1:] == [["gone", "kept"]]
    assert stage.counts.cancelled == 3


async def test_the_status_of_the_next_stage() -> None:
    assert await _stage(Replica()).status() == {"status": "ok"}


def test_how_its_calls_travel() -> None:
    given: list[dict[str, Any]] = []

    class Handle:
        def options(self, **options: Any) -> Handle:
            given.append(options)
            return self

    handle: Any = Handle()
    RemoteStage(handle, SETTINGS)
    assert given == [
        {
            "method_name": "receive",
            "_by_reference": False,
            "request_serialization": "pickle",
            "response_serialization": "pickle",
        },
        {"method_name": "status", "_by_reference": False},
    ]


def test_a_stage_in_this_process_is_used_itself() -> None:
    stage: Any = Replica()
    assert stage_of(stage, SETTINGS) is stage


async def test_a_replica_that_hangs_does_not_keep_its_lane() -> None:
    class Hanging:
        async def receive(self, message: Message) -> list[Any]:
            await asyncio.Event().wait()
            return []

    settings = SETTINGS.model_copy(update={"deadline_s": 0.01, "hop_lanes": 1})
    stage = _stage(Hanging(), settings)
    stage._patience_s = 0.05
    first, second = await asyncio.gather(stage.classify([Work(b"a")]), stage.classify([Work(b"b")]))
    assert [type(error) for error in (*first, *second)] == [StageUnavailable, StageUnavailable]
