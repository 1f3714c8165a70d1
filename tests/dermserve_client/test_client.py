"""What both clients do with every call: address, key, repetition, and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dermserve_client import (
    DermServeError,
    Refused,
    Retries,
    ServerMistake,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from tests.conftest import free_port
from tests.dermserve_client.conftest import Connect
from tests.dermserve_client.refusal import refusal

REPEATED = {
    "predict": (b"picture",),
    "predict_batch": ([b"picture"],),
    "explain": (b"picture",),
    "list_uploads": (),
    "get_upload": ("1",),
    "upload_image": ("1",),
    "retrain_status": (),
    "retrain_history": (),
    "retrain_events": (),
    "follow_run": (1,),
    "models": (),
    "model": ("2",),
    "model_report": ("2",),
    "model_evaluation": ("2",),
    "metrics": (),
    "data_summary": (),
    "health": (),
    "service_info": (),
}
DONE_ONCE = {
    "upload": ([b"picture"], ["nv"]),
    "change_upload": ("1", {"label": "nv"}),
    "delete_upload": ("1",),
    "retrain": (),
    "cancel_retrain": (),
    "promote": ("2",),
    "rollback": (),
}


class _Server:
    """Answers one thing after the other, the last for ever."""

    def __init__(self, *answers: httpx.Response | type[httpx.TransportError]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx.Response):
            return answer
        raise answer("It broke.")


def _overloaded() -> httpx.Response:
    return refusal(503, "overloaded", **{"retry-after": "0"})


HITCHES = [_overloaded, lambda: httpx.ReadError, lambda: httpx.ConnectError]


@pytest.mark.parametrize("method", REPEATED)
@pytest.mark.parametrize("hitch", HITCHES)
async def test_what_changes_nothing_is_repeated(
    connect: Connect, method: str, hitch: Callable[[], Any]
) -> None:
    server = _Server(hitch(), hitch(), refusal(500, "internal_error"))
    with pytest.raises(ServerMistake):
        await connect(server)(method, *REPEATED[method])
    assert len(server.requests) == 3
    assert len({(r.method, r.url, r.headers["accept"]) for r in server.requests}) == 1


@pytest.mark.parametrize("method", DONE_ONCE)
@pytest.mark.parametrize("hitch", HITCHES)
async def test_what_changes_something_is_sent_once(
    connect: Connect, method: str, hitch: Callable[[], Any]
) -> None:
    server = _Server(hitch())
    with pytest.raises((Unavailable, Unreachable)):
        await connect(server)(method, *DONE_ONCE[method])
    assert len(server.requests) == 1


async def test_repeating_sends_the_same_again(connect: Connect) -> None:
    server = _Server(_overloaded(), refusal(415, "unsupported_image"))
    with pytest.raises(Refused):
        await connect(server)("predict", b"picture")
    assert [request.content for request in server.requests] == [b"picture"] * 2


async def test_patience_ends(connect: Connect) -> None:
    server = _Server(refusal(503, "model_unavailable", **{"retry-after": "10"}))
    with pytest.raises(Unavailable) as raised:
        await connect(server, retries=Retries(total_s=10))("predict", b"picture")
    assert (len(server.requests), raised.value.retry_after_s) == (1, 10)


async def test_no_patience_at_all(connect: Connect) -> None:
    server = _Server(_overloaded())
    with pytest.raises(Unavailable):
        await connect(server, retries=Retries(total_s=0))("predict", b"picture")
    assert len(server.requests) == 1


async def test_the_server_is_told_what_is_left_of_a_timeout(connect: Connect) -> None:
    server = _Server(_overloaded(), refusal(504, "deadline_exceeded"))
    with pytest.raises(Refused):
        await connect(server)("predict", b"picture", timeout_s=5)
    first_s, second_s = (float(request.url.params["timeout_s"]) for request in server.requests)
    assert 5 >= first_s > second_s > 0
    # Its own word comes first.
    assert server.requests[1].extensions["timeout"]["read"] == second_s + 5


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
async def test_a_timeout_is_above_zero(connect: Connect, timeout_s: float) -> None:
    server = _Server(_overloaded())
    with pytest.raises(ValueError, match="above 0"):
        await connect(server)("predict", b"picture", timeout_s=timeout_s)
    assert not server.requests


async def test_the_address_and_the_key_are_given(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMSERVE_URL", "http://elsewhere")
    monkeypatch.setenv("DERMSERVE_API_KEY", "ds_2_b")
    server = _Server(refusal(404, "not_found"))
    with pytest.raises(Refused):
        await connect(server, url="https://server/derm", api_key="ds_1_a")("health")
    (request,) = server.requests
    assert request.url == "https://server/derm/health"
    assert request.headers["authorization"] == "Bearer ds_1_a"


async def test_the_address_and_the_key_are_in_the_environment(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMSERVE_URL", "http://elsewhere:1")
    monkeypatch.setenv("DERMSERVE_API_KEY", "ds_2_b\n")  # as files end
    server = _Server(refusal(404, "not_found"))
    with pytest.raises(Refused):
        await connect(server)("health")
    (request,) = server.requests
    assert request.url == "http://elsewhere:1/health"
    assert request.headers["authorization"] == "Bearer ds_2_b"


@pytest.mark.parametrize("key", ["ds_1_a\nx-role: admin", "ds_1_\xfc", "ds_1_\0"])
async def test_a_key_that_can_be_none_is_not_repeated(connect: Connect, key: str) -> None:
    with pytest.raises(ValueError, match="Copy it anew") as raised:
        connect(api_key=key)
    assert "ds_1" not in str(raised.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost", "ftp://server", "/predict"])
async def test_an_address_that_can_be_none(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        connect(url=url)


async def test_without_either_it_is_this_machine_and_nobody(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DERMSERVE_URL", raising=False)
    monkeypatch.delenv("DERMSERVE_API_KEY", raising=False)
    server = _Server(refusal(404, "not_found"))
    with pytest.raises(Refused):
        await connect(server)("health")
    (request,) = server.requests
    assert request.url == "http://127.0.0.1:8000/health"
    assert "authorization" not in request.headers


async def test_a_key_follows_no_redirect(connect: Connect) -> None:
    server = _Server(httpx.Response(307, headers={"location": "http://thief/"}))
    with pytest.raises(Refused, match="http_307"):
        await connect(server, api_key="ds_1_a")("health")
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"predicted_class": "nv"}', b"[]"])
async def test_an_answer_of_somebody_else(connect: Connect, body: bytes) -> None:
    client = connect(_Server(httpx.Response(200, content=body)))
    with pytest.raises(UnexpectedAnswer, match=r"POST /predict .* check the address"):
        await client("predict", b"picture")


async def test_nobody_there(connect: Connect) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match="that the server runs") as raised:
        await connect(url=url, retries=Retries(total_s=0))("predict", b"picture")
    assert url in str(raised.value)


async def test_every_error_has_one_root(connect: Connect) -> None:
    for answer in (refusal(409, "run_active"), httpx.ReadTimeout, httpx.Response(200)):
        with pytest.raises(DermServeError):
            await connect(_Server(answer))("retrain")


@pytest.mark.parametrize("name", ["a/b", "../x", "a?b", "a#b", "%2e%2e", "ü"])
async def test_a_name_is_one_segment_of_a_path(connect: Connect, name: str) -> None:
    server = _Server(refusal(404, "not_found"))
    client = connect(server, url="http://server")
    with pytest.raises(Refused):
        await client("model", name)
    with pytest.raises(Refused):
        await client("upload_image", name)
    for request, segments in zip(server.requests, (2, 3), strict=True):
        assert request.url.raw_path.count(b"/") == segments
        assert not request.url.query
        assert not request.url.fragment


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_would_lead_elsewhere(connect: Connect, name: str) -> None:
    server = _Server(refusal(404, "not_found"))
    for method in ("delete_upload", "promote"):
        with pytest.raises(ValueError, match="is no name"):
            await connect(server)(method, name)
    assert not server.requests


def test_every_method_is_in_one_of_the_lists() -> None:
    from dermserve_client import Client

    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods == {*REPEATED, *DONE_ONCE, "ready", "wait_until_ready", "close"}
