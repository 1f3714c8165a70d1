"""The events of a retraining, over connections that end and servers that go away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest

from dermserve_client import NotFound, Retries, Unavailable, UnexpectedAnswer, Unreachable
from serve_app import retrain_schemas, upload_schemas
from tests.dermserve_client.conftest import HASTY, Connect
from tests.dermserve_client.refusal import refusal

EVENTS = "/retrain/events"


def run(number: int, state: str = "running", progress: float = 0.0) -> dict[str, Any]:
    nothing = dict.fromkeys(retrain_schemas.Run.model_fields)
    document = {
        **nothing,
        "id": number,
        "name": f"run-{number}",
        "state": state,
        "mode": "head",
        "trigger": "manual",
        "actor": "api",
        "phase": "training",
        "progress": progress,
        "metrics": {},
        "new_images": 1,
        "images": 10,
        "attempts": 1,
        "cancel_requested": False,
        "created": "2026-11-25T04:00:00+00:00",
    }
    return retrain_schemas.Run.model_validate(document).model_dump()


def status(under_way: Any = None, last: Any = None) -> bytes:
    waiting = upload_schemas.Missing(new_images=1, threshold=10, missing=9, missing_by_class={})
    state = "idle" if under_way is None else "running"
    document = {
        "state": state,
        "run": under_way,
        "last": last,
        "waiting": waiting.model_dump(),
        "rollout": None,
    }
    retrain_schemas.RetrainStatus.model_validate(document)
    return b"event: status\ndata: " + json.dumps(document).encode() + b"\n\n"


UNAVAILABLE = b"event: unavailable\ndata: " + refusal(503, "trainer_unavailable").content + b"\n\n"


def stream(*events: bytes) -> httpx.Response:
    """A stream of events that ends; comments and the time to reconnect are in it too."""
    body = b"".join([b"retry: 1\n\n", b": still here\n\n", *events])
    return httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})


class _Server:
    """Gives one stream after the other, and knows some runs."""

    def __init__(self, streams: Iterable[httpx.Response | None], runs: Iterable[Any] = ()) -> None:
        self._streams: Iterator[httpx.Response | None] = iter(streams)
        self._runs = iter(runs)
        self.opened = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != EVENTS:
            return httpx.Response(200, json={"runs": next(self._runs), "total": 1})
        self.opened += 1
        if (answer := next(self._streams)) is None:
            raise httpx.RemoteProtocolError("It hung up.")
        return answer


def _forever(make: Any) -> Iterator[httpx.Response | None]:
    while True:
        yield make()


async def test_events_go_on_over_ends_and_breaks(connect: Connect) -> None:
    server = _Server(
        [
            stream(status(run(1)), status(run(1, progress=0.5))),
            None,
            refusal(503, "overloaded"),
            stream(status(run(1, progress=0.7)), UNAVAILABLE),
            stream(status(last=run(1, "promoted"))),
        ]
    )
    told = await connect(server)("retrain_events", most=4)
    assert [each.run and each.run.progress for each in told] == [0.0, 0.5, 0.7, None]
    assert told[-1].last.over
    assert server.opened == 5


@pytest.mark.parametrize(
    "make", [lambda: stream(UNAVAILABLE), lambda: None, lambda: refusal(503, "overloaded")]
)
async def test_events_end_when_nobody_answers_for_long(connect: Connect, make: Any) -> None:
    server = _Server(_forever(make))
    with pytest.raises((Unavailable, Unreachable)):
        await connect(server, retries=Retries(0.05, 0.001, 0.002))("retrain_events")
    assert server.opened >= 2


async def test_patience_begins_anew_with_each_status(connect: Connect) -> None:
    """Each break is short, all together are not."""
    rounds = [each for _ in range(60) for each in (stream(status()), None)]
    server = _Server([*rounds, stream(status())])
    told = await connect(server, retries=Retries(0.1, 0.002, 0.002))("retrain_events", most=61)
    assert len(told) == 61


async def test_what_is_no_stream_is_said(connect: Connect) -> None:
    with pytest.raises(UnexpectedAnswer, match="no stream of events"):
        await connect(_Server([httpx.Response(200, json={})]))("retrain_events")
    with pytest.raises(NotFound):
        await connect(_Server([refusal(404, "not_found")]))("retrain_events")


async def test_a_run_is_followed_to_its_end(connect: Connect) -> None:
    before = run(6, "promoted")
    server = _Server(
        [
            # The server may not have noticed the run yet.
            stream(
                status(last=before), status(run(7), before), status(run(7, progress=0.5), before)
            ),
            stream(status(run(8), run(7, "refused")), status(run(8))),
        ],
        [[run(7, "queued"), before]],
    )
    runs = await connect(server)("follow_run", 7)
    assert [(each.id, each.state, each.progress) for each in runs] == [
        (7, "queued", 0),
        (7, "running", 0),
        (7, "running", 0.5),
        (7, "refused", 0),
    ]


async def test_an_end_that_was_missed_is_looked_up(connect: Connect) -> None:
    server = _Server(
        [stream(status(run(7))), stream(status(last=run(9, "failed")))],
        [[run(7)], [run(9, "failed"), run(8, "failed"), run(7, "promoted")]],
    )
    runs = await connect(server)("follow_run", 7)
    assert [each.state for each in runs] == ["running", "running", "promoted"]


async def test_a_run_that_is_over_needs_no_stream(connect: Connect) -> None:
    server = _Server([], [[run(7, "cancelled")]])
    (only,) = await connect(server)("follow_run", 7)
    assert only.over
    assert server.opened == 0


async def test_a_run_that_there_is_not(connect: Connect) -> None:
    with pytest.raises(NotFound, match="no run 8"):
        await connect(_Server([], [[run(7)]]), retries=HASTY)("follow_run", 8)
