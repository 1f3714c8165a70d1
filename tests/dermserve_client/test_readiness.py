"""Waiting until the server answers predictions."""

from __future__ import annotations

import httpx
import pytest

from dermserve_client import AccessDenied, Unavailable, Unreachable, readiness
from dermserve_client.errors import NotFound
from dermserve_client.readiness import Health
from tests.dermserve_client.conftest import Connect
from tests.dermserve_client.refusal import refusal

HEALTHY = {"status": "ok", "uptime_s": 1.0, "data_path": {"proxy": "haproxy"}}

NOT_READY = [
    lambda: refusal(503, "model_unavailable", **{"retry-after": "10"}),
    lambda: httpx.Response(503, text="no server"),
    lambda: httpx.Response(404, text="Path '/health/ready' not found."),
]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_LOOK_EVERY_S", 0.001)


async def test_it_waits_through_everything_that_comes_before(connect: Connect) -> None:
    answers = [None, *(make() for make in NOT_READY), httpx.Response(200, json=HEALTHY)]

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/health/ready"
        answer = answers.pop(0)
        if answer is None:
            raise httpx.ConnectError("refused")
        return answer

    health = await connect(handler)("wait_until_ready", timeout_s=5)
    assert health == Health.model_validate(HEALTHY)
    assert not answers


@pytest.mark.parametrize("make", NOT_READY)
async def test_it_says_why_it_has_given_up(connect: Connect, make: object) -> None:
    with pytest.raises(Unavailable) as raised:
        await connect(lambda request: make())("wait_until_ready", 0.5)  # type: ignore[operator]
    assert raised.value.message in (
        "Do something else.",
        *(f"127.0.0.1 answered {text}." for text in ("503 Service Unavailable", "404 Not Found")),
    )


async def test_a_server_that_never_comes(connect: Connect) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable):
        await connect(nobody)("wait_until_ready", 0.01)
    with pytest.raises(Unreachable):
        await connect(nobody)("ready")


async def test_whether_it_is_ready_now(connect: Connect) -> None:
    assert await connect(lambda request: httpx.Response(200, json=HEALTHY))("ready") is True
    for make in NOT_READY:
        assert await connect(lambda request, make=make: make())("ready") is False


@pytest.mark.parametrize("method", ["ready", "wait_until_ready"])
async def test_what_waiting_does_not_mend(connect: Connect, method: str) -> None:
    with pytest.raises(AccessDenied):
        await connect(lambda request: refusal(401, "unauthenticated"))(method)
    with pytest.raises(NotFound):
        await connect(lambda request: refusal(404, "not_found"))(method)
