"""The errors of the client: one for each of the server's, whatever lies between the two."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest

import serve_app.open_inference.protocol  # noqa: F401  # has an error of its own
from dermserve_client import errors
from dermserve_client.errors import ErrorDetail, Refused, error_of, error_of_detail
from models.errors import DermServeError as ServerError
from tests.dermserve_client.refusal import refusal

KINDS = {
    400: errors.InvalidRequest,
    401: errors.AccessDenied,
    403: errors.AccessDenied,
    404: errors.NotFound,
    405: errors.InvalidRequest,
    408: errors.InvalidRequest,
    409: errors.Conflict,
    413: errors.TooLarge,
    415: errors.InvalidImage,
    422: errors.InvalidRequest,
    429: errors.TooManyRequests,
    500: errors.ServerMistake,
    503: errors.Unavailable,
    504: errors.DeadlineExceeded,
    507: errors.StorageFull,
}


def _tree(kind: type[ServerError]) -> Iterator[type[ServerError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


SERVER_ERRORS = sorted(
    {kind for kind in _tree(ServerError) if kind.__module__.startswith(("models.", "serve_app."))},
    key=lambda kind: kind.code,
)


def _answered(response: httpx.Response) -> httpx.Response:
    response.request = httpx.Request("GET", "http://server/predict")
    return response


@pytest.mark.parametrize("kind", SERVER_ERRORS, ids=lambda kind: kind.code)
def test_each_error_of_the_server_has_its_kind(kind: type[ServerError]) -> None:
    error = error_of(_answered(refusal(kind.status, kind.code)))
    of_image = "image" in kind.code and kind.status != 500
    assert type(error) is (errors.InvalidImage if of_image else KINDS[kind.status])
    assert (error.code, error.message, error.request_id) == (kind.code, "Do something else.", "r1")
    assert str(error) == f"Do something else. ({kind.code}, request r1)"
    assert error.passing == (kind.retry_after_s is not None or kind.status == 429)


@pytest.mark.parametrize("kind", SERVER_ERRORS, ids=lambda kind: kind.code)
def test_without_a_status_the_kind_is_the_same_or_the_root(kind: type[ServerError]) -> None:
    detail = ErrorDetail(code=kind.code, message="No.", request_id="r1")
    alone = type(error_of_detail(detail))
    assert alone in (Refused, type(error_of(_answered(refusal(kind.status, kind.code)))))


def test_what_one_image_of_a_batch_may_have_is_known_without_a_status() -> None:
    for code in ("truncated_image", "body_too_large", "deadline_exceeded", "stage_unavailable"):
        error = error_of_detail(ErrorDetail(code=code, message="No.", request_id=""))
        assert type(error) is not Refused
        assert str(error) == f"No. ({code})"


def test_a_code_of_the_future_goes_by_its_status() -> None:
    assert type(error_of(_answered(refusal(409, "moon_in_the_way")))) is errors.Conflict
    assert type(error_of(_answered(refusal(418, "teapot")))) is Refused


@pytest.mark.parametrize("body", [b"", b"<html>503</html>", b'{"error": "no"}', b"\xff\xfe"])
def test_an_error_of_a_proxy(body: bytes) -> None:
    response = httpx.Response(503, content=body, headers={"x-request-id": "r2"})
    error = error_of(_answered(response))
    assert type(error) is errors.Unavailable
    assert (error.code, error.request_id) == ("http_503", "r2")
    assert "server answered 503 Service Unavailable" in error.message


@pytest.mark.parametrize(
    ("advice", "seconds"),
    [("7", 7), ("0", 0), ("", None), ("soon", None), ("-1", None), ("1.5", None), ("²", None)],
)
def test_retry_after_in_seconds(advice: str, seconds: float | None) -> None:
    headers = httpx.Headers({"retry-after": advice}, encoding="utf-8")
    response = httpx.Response(503, headers=headers)
    assert error_of(_answered(response)).retry_after_s == seconds


def test_retry_after_as_a_date() -> None:
    soon = datetime.now(timezone.utc) + timedelta(hours=1)
    response = refusal(503, "overloaded", **{"retry-after": format_datetime(soon, usegmt=True)})
    advised_s = error_of(_answered(response)).retry_after_s
    assert advised_s is not None
    assert 3000 < advised_s <= 3600
    past = refusal(503, "overloaded", **{"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert error_of(_answered(past)).retry_after_s == 0
