"""The hot path: its answers are those of the plain route, whatever is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from models.errors import DeadlineExceeded, ModelUnavailable, Overloaded
from serve_app import api as module
from serve_app.access.access import Access
from serve_app.archive_client import ArchiveClient
from serve_app.hot_path import with_hot_path
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.serve_app.chain import InProcessChain
from tests.serve_app.forms import END, FORM, chunks, file, form

Handler = Callable[[Request], Awaitable[Response]]

TOO_LARGE = bytes(200_001)  # SETTINGS of conftest.py
MIME = {"content-type": "image/jpeg"}
NAMED = {"x-request-id": "mine-1"}


class Pair:
    """The application with the hot path and the one without, over the same chain.

    Args:
        hot, plain: the applications.
        taken: a note for each request that took the hot path.
    """

    def __init__(self, hot: FastAPI, plain: FastAPI, taken: list[str]) -> None:
        self.hot, self.plain, self.taken = hot, plain, taken

    async def ask(
        self, method: str, url: str, body: Callable[[], Any] = lambda: None, **more: Any
    ) -> httpx.Response:
        """The answer of both, which must be the same but for the times."""
        answers = []
        async with AsyncExitStack() as stack:
            for app in (self.plain, self.hot):
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                client = await stack.enter_async_context(
                    httpx.AsyncClient(transport=transport, base_url="http://localhost")
                )
                answers.append(await client.request(method, url, content=body(), **more))
        plain, hot = answers
        assert hot.status_code == plain.status_code
        assert _without_times(hot) == _without_times(plain)
        assert _headers(hot) == _headers(plain)
        return hot


def _without_times(response: httpx.Response) -> Any:
    try:
        found = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return response.content
    if "timings" in found:
        assert len(found.pop("timings")) == 4
        assert found.pop("inference_time") > 0
    return found


def _headers(response: httpx.Response) -> list[tuple[str, str]]:
    times_differ = response.status_code == 200
    return [
        (name, value)
        for name, value in response.headers.items()
        if not (times_differ and name == "content-length")
    ]


@pytest.fixture
def pair(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    settings: ServeSettings,
    access: Access,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pair]:
    taken: list[str] = []

    def watched(app: FastAPI, path: str, handler: Handler) -> FastAPI:
        async def handle(request: Request) -> Response:
            taken.append(request.url.path)
            return await handler(request)

        return with_hot_path(app, path, handle)

    def plain(app: FastAPI, path: str, handler: Handler) -> FastAPI:
        return app

    def create(how: Any) -> FastAPI:
        monkeypatch.setattr(module, "with_hot_path", how)
        return module.create_api(chain, archive_client, trainer_client, settings, access)

    yield Pair(create(watched), create(plain), taken)
    chain.error = None


REQUESTS: dict[str, Callable[[bytes], tuple[Callable[[], Any], dict[str, str]]]] = {
    "raw": lambda jpeg: (lambda: jpeg, MIME),
    "raw without a type": lambda jpeg: (lambda: jpeg, {}),
    "raw in pieces": lambda jpeg: (lambda: chunks([jpeg[:9], b"", jpeg[9:]]), MIME),
    "form": lambda jpeg: (lambda: form(file(jpeg)), FORM),
    "form in pieces": lambda jpeg: (
        lambda: chunks([form(file(jpeg))[:99], form(file(jpeg))[99:]]),
        FORM,
    ),
    "a name": lambda jpeg: (lambda: jpeg, NAMED),
    "a name and an error": lambda _: (lambda: b"hello", NAMED),
    "empty": lambda _: (lambda: b"", {}),
    "empty form": lambda _: (lambda: END, FORM),
    "truncated image": lambda jpeg: (lambda: jpeg[: len(jpeg) // 2], MIME),
    "truncated form": lambda jpeg: (lambda: form(file(jpeg))[:-50], FORM),
    "form without a boundary": lambda jpeg: (
        lambda: form(file(jpeg)),
        {"content-type": "multipart/form-data"},
    ),
    "wrong field": lambda jpeg: (lambda: form(file(jpeg, "image")), FORM),
    "two files": lambda jpeg: (lambda: form(file(jpeg), file(jpeg)), FORM),
    "text": lambda _: (lambda: b"hello", {"content-type": "text/plain"}),
    "too large, announced": lambda _: (lambda: TOO_LARGE, {}),
    "too large, not announced": lambda _: (lambda: chunks([TOO_LARGE[:9], TOO_LARGE]), {}),
    "too large in a form": lambda _: (lambda: form(file(bytes(300_000))), FORM),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_post_takes_it_and_is_answered_as_ever(pair: Pair, jpeg: bytes, name: str) -> None:
    body, headers = REQUESTS[name](jpeg)
    response = await pair.ask("POST", "/predict", body, headers=headers)
    good = name in (
        "raw",
        "raw without a type",
        "raw in pieces",
        "form",
        "form in pieces",
        "a name",
    )
    assert (response.status_code == 200) == good
    said = response.json() if good else response.json()["error"]
    assert said["request_id"] == ("mine-1" if headers is NAMED else "")
    assert pair.taken == ["/predict"]


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/predict", 405),
        ("HEAD", "/predict", 405),
        ("PUT", "/predict", 405),
        ("OPTIONS", "/predict", 405),
        ("POST", "/predict?priority=bulk", 200),
        ("POST", "/predict?priority=urgent", 422),
        ("POST", "/predict?unknown=1", 200),
        ("POST", "/predict/", 307),
        ("POST", "/predict/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/health", 200),
        ("POST", "/predict/batch", 400),
    ],
)
async def test_anything_else_goes_the_usual_way(
    pair: Pair, jpeg: bytes, method: str, url: str, status: int
) -> None:
    response = await pair.ask(method, url, lambda: jpeg if method == "POST" else None)
    assert response.status_code == status
    assert pair.taken == []


async def test_an_empty_query_is_none(pair: Pair, jpeg: bytes) -> None:
    assert (await pair.ask("POST", "/predict?", lambda: jpeg)).status_code == 200
    assert pair.taken == ["/predict"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("Full. Send it again in a second."), 503),
        (ModelUnavailable("No model is loaded. It is loading."), 503),
        (DeadlineExceeded("The deadline passed. Allow more time."), 504),
        (RuntimeError("/home/somebody/secret.key"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_the_chain_raises_is_answered_as_ever(
    pair: Pair, chain: InProcessChain, jpeg: bytes, error: Exception, status: int
) -> None:
    chain.error = error
    response = await pair.ask("POST", "/predict", lambda: jpeg, headers=NAMED)
    assert response.status_code == status
    assert response.json()["error"]["request_id"] == "mine-1"
    assert "secret" not in response.text
    assert pair.taken == ["/predict"]


async def test_both_ask_the_chain_for_the_same(
    pair: Pair, chain: InProcessChain, jpeg: bytes
) -> None:
    chain.asked.clear()
    await pair.ask("POST", "/predict", lambda: jpeg)
    plain, hot = chain.asked
    assert hot == plain


@pytest.mark.parametrize("headers", [[], [(b"content-type", FORM["content-type"].encode())]])
async def test_a_client_that_hangs_up_gets_the_same(
    pair: Pair, headers: list[tuple[bytes, bytes]]
) -> None:
    answers = []
    for app in (pair.plain, pair.hot):
        sent: list[Any] = []
        await app(_scope(headers), _hang_up_after(form(file(b"lesion"))[:80]), _into(sent))
        answers.append(sent)
    assert answers[0] == answers[1]
    assert [message["status"] for message in answers[1] if "status" in message] == [400]
    assert b"connection closed" in answers[1][-1]["body"]
    assert pair.taken == ["/predict"]


async def test_the_lifespan_goes_the_usual_way(pair: Pair) -> None:
    sent: list[Any] = []
    messages = iter(["startup", "shutdown"])

    async def receive() -> Any:
        return {"type": f"lifespan.{next(messages)}"}

    scope: Any = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    await pair.hot(scope, receive, _into(sent))
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_both_describe_the_same(pair: Pair) -> None:
    assert pair.hot.openapi() == pair.plain.openapi()


def _scope(headers: list[tuple[bytes, bytes]]) -> Any:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("dermserve", 80),
    }


def _hang_up_after(body: bytes) -> Any:
    messages = [{"type": "http.request", "body": body, "more_body": True}]

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return receive


def _into(sent: list[Any]) -> Any:
    async def send(message: Any) -> None:
        sent.append(message)

    return send
