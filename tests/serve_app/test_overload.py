"""A full server: what it refuses, how soon, and that every place comes back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from models.errors import InvalidField
from serve_app.access.access import Access
from serve_app.api import create_api
from serve_app.ingress import Ingress
from serve_app.message import Message
from serve_app.settings import ServeSettings
from serve_app.stage import RemoteStage
from serve_app.work import Priority
from tests.serve_app.chain import InProcessChain, InProcessPreprocessor
from tests.serve_app.forms import error_of
from tests.serve_app.handles import InProcessHandle
from tests.waiting import until

SETTINGS = ServeSettings(max_batch_size=1)
PLACES, BULK_PLACES = SETTINGS.max_waiting, SETTINGS.max_waiting_bulk

Tasks = list["asyncio.Task[httpx.Response]"]


@pytest.fixture(scope="module")
def settings() -> ServeSettings:
    return SETTINGS


class GatedPreprocessor:
    """The preprocessor's replica: it takes messages, and answers none until its gate opens."""

    def __init__(self, preprocessor: InProcessPreprocessor) -> None:
        self._preprocessor = preprocessor
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def receive(self, message: Message) -> Any:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self._preprocessor.receive(message)


class Server:
    """An ingress over a chain that does not answer, and clients of its API."""

    def __init__(self, chain: InProcessChain, settings: ServeSettings, access: Access) -> None:
        self.chain = GatedPreprocessor(chain.preprocessor)
        handle: Any = InProcessHandle(self.chain)
        self.ingress = Ingress(RemoteStage(handle, settings), handle, handle, settings)
        app = create_api(
            self.ingress, self.ingress._archive, self.ingress._trainer, settings, access
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self.ingress._admission.images

    async def fill(self, count: int, path: str, image: bytes) -> Tasks:
        """Requests that wait for the chain, each with a place."""
        wanted = self.taken + count
        tasks = [asyncio.create_task(self.client.post(path, content=image)) for _ in range(count)]

        def placed() -> bool:
            assert not any(task.done() for task in tasks), [t.result() for t in tasks if t.done()]
            return self.taken >= wanted

        await until(placed, "they have no places")
        return tasks

    async def answers(self, tasks: Tasks) -> list[int]:
        """Open the gate; the status of each request."""
        self.chain.gate.set()
        return [response.status_code for response in await asyncio.gather(*tasks)]


@pytest.fixture
async def server(
    chain: InProcessChain, settings: ServeSettings, access: Access
) -> AsyncIterator[Server]:
    server = Server(chain, settings, access)
    async with server.client:
        yield server
    assert server.taken == sum(server.ingress._admission._bytes.values()) == 0
    server.chain.gate.set()  # what nobody waits for any more ends too
    for lane in list(server.ingress._chain._lanes._tasks):  # type: ignore[attr-defined]
        await lane


class Body:
    """An image that knows whether anybody has begun to read it."""

    def __init__(self, image: bytes) -> None:
        self._image = image
        self.read = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.read = True
        yield self._image


@pytest.mark.parametrize(
    "path",
    [
        "/predict",
        "/predict?priority=interactive",
        "/predict?priority=bulk",
        "/predict/batch",
        "/predict/batch?priority=interactive",
    ],
)
async def test_a_full_server_refuses_before_the_body_is_read(
    server: Server, jpeg: bytes, path: str
) -> None:
    waiting = await server.fill(PLACES, "/predict", jpeg)
    body = Body(jpeg)
    response = await server.client.post(path, content=body)
    error = error_of(response, 503, "overloaded")
    assert response.headers["retry-after"] == "1"
    assert f"{PLACES} images are waiting" in error.message
    assert not body.read
    assert not any(task.done() for task in waiting)
    assert await server.answers(waiting) == [200] * PLACES
    assert (await server.client.post("/predict", content=Body(jpeg))).status_code == 200


async def test_bulk_work_leaves_half_of_the_places_to_interactive_work(
    server: Server, jpeg: bytes
) -> None:
    waiting = await server.fill(BULK_PLACES, "/predict?priority=bulk", jpeg)
    body = Body(jpeg)
    for path in ("/predict?priority=bulk", "/predict/batch"):
        response = await server.client.post(path, content=body)
        assert "of series" in error_of(response, 503, "overloaded").message
        assert response.headers["retry-after"] == "1"
    assert not body.read
    waiting += await server.fill(PLACES - BULK_PLACES, "/predict", jpeg)
    error_of(await server.client.post("/predict", content=body), 503, "overloaded")
    assert not body.read
    assert await server.answers(waiting) == [200] * PLACES


async def test_a_series_that_does_not_fit_is_refused_whole(server: Server, jpeg: bytes) -> None:
    waiting = await server.fill(BULK_PLACES - 1, "/predict?priority=bulk", jpeg)
    files = [("files", ("a.jpg", jpeg))] * 2
    error_of(await server.client.post("/predict/batch", files=files), 503, "overloaded")
    assert server.taken == BULK_PLACES - 1
    assert await server.answers(waiting) == [200] * (BULK_PLACES - 1)


@pytest.mark.parametrize("query", ["timeout_s=0.05", "timeout_s=0.05&priority=bulk"])
async def test_a_passed_deadline_is_said_and_gives_the_place_back(
    server: Server, jpeg: bytes, query: str
) -> None:
    response = await server.client.post(f"/predict?{query}", content=jpeg)
    error_of(response, 504, "deadline_exceeded")
    assert server.taken == 0


async def test_a_series_says_of_each_image_that_it_came_too_late(
    server: Server, jpeg: bytes
) -> None:
    response = await server.client.post(
        "/predict/batch?timeout_s=0.05", files=[("files", ("a.jpg", jpeg))] * 2
    )
    assert response.status_code == 200
    codes = [result["error"]["code"] for result in response.json()["results"]]
    assert codes == ["deadline_exceeded"] * 2


async def test_what_waits_for_a_lane_comes_too_late_as_well(server: Server, jpeg: bytes) -> None:
    """A chain that hangs for good: its lanes are taken, and every request still ends."""
    lanes = await server.fill(SETTINGS.hop_lanes, "/predict", jpeg)
    late = [server.client.post("/predict?timeout_s=0.05", content=jpeg) for _ in range(4)]
    for response in await asyncio.gather(*late):
        error_of(response, 504, "deadline_exceeded")
    assert server.taken == len(lanes)
    assert await server.answers(lanes) == [200] * len(lanes)
    # They never reached the chain.
    assert server.ingress._chain.counts.expired == 4  # type: ignore[attr-defined]


async def test_callers_who_hang_up_give_their_places_back(server: Server, jpeg: bytes) -> None:
    waiting = await server.fill(PLACES, "/predict", jpeg)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert all(task.cancelled() for task in waiting)
    assert server.taken == 0
    again = await server.fill(PLACES, "/predict", jpeg)
    assert await server.answers(again) == [200] * PLACES


async def test_errors_give_their_places_back(server: Server, jpeg: bytes) -> None:
    server.chain.gate.set()
    for _ in range(PLACES + 1):  # each would fill a place
        response = await server.client.post("/predict", content=b"no image")
        error_of(response, 415, "unsupported_image")
        assert server.taken == 0
    server.chain.error = RuntimeError("a bug")
    response = await server.client.post("/predict", content=jpeg)
    error_of(response, 500, "internal_error")
    assert server.taken == 0
    server.chain.error = None
    assert (await server.client.post("/predict", content=jpeg)).status_code == 200


async def test_health_is_answered_by_a_full_server(server: Server, jpeg: bytes) -> None:
    waiting = await server.fill(PLACES, "/predict", jpeg)
    assert (await server.client.get("/health/live")).status_code == 200
    assert await server.answers(waiting) == [200] * PLACES


@pytest.fixture
def hasty(chain: InProcessChain, access: Access) -> Server:
    return Server(chain, ServeSettings(max_batch_size=1, deadline_s=0.05), access)


async def test_nobody_waits_longer_than_the_server_allows(hasty: Server, jpeg: bytes) -> None:
    for path in ("/predict", "/predict?timeout_s=1000", "/predict?timeout_s=inf"):
        error_of(await hasty.client.post(path, content=jpeg), 504, "deadline_exceeded")
    assert hasty.taken == 0
    hasty.chain.gate.set()


@pytest.mark.parametrize(
    "query",
    [
        "priority=urgent",
        "priority=",
        "priority=BULK",
        "priority=1",
        "timeout_s=0",
        "timeout_s=-1",
        "timeout_s=nan",
        "timeout_s=",
        "timeout_s=soon",
        "timeout_s=1&priority=urgent",
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_a_wrong_value_is_refused_by_name_before_the_body_is_read(
    server: Server, jpeg: bytes, path: str, query: str
) -> None:
    body = Body(jpeg)
    error = error_of(
        await server.client.post(f"{path}?{query}", content=body), 422, "invalid_field"
    )
    assert query.split("&")[-1].split("=")[0] in error.message
    assert not body.read


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.nan])
async def test_a_handle_is_refused_the_same_values(
    server: Server, jpeg: bytes, timeout_s: float
) -> None:
    with pytest.raises(InvalidField, match="timeout_s"):
        await server.ingress.predict(jpeg, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/predict", (Priority.INTERACTIVE, None)),
        ("/predict?priority=bulk", (Priority.BULK, None)),
        ("/predict?timeout_s=2.5", (Priority.INTERACTIVE, 2.5)),
        ("/predict/batch", (Priority.BULK, None)),
        ("/predict/batch?priority=interactive&timeout_s=3", (Priority.INTERACTIVE, 3.0)),
    ],
)
async def test_the_chain_is_told_what_the_client_wishes(
    api: httpx.AsyncClient,
    chain: InProcessChain,
    jpeg: bytes,
    url: str,
    expected: tuple[Priority, float | None],
) -> None:
    chain.asked.clear()
    field = "files" if "batch" in url else "file"
    response = await api.post(url, files={field: ("a.jpg", jpeg)})
    assert response.status_code == 200, response.text
    assert chain.asked == [expected]
