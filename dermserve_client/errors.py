"""The error tree: what can go wrong, by what a caller can do about it."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import ClassVar

import httpx
from pydantic import ValidationError

from dermserve_client.answer import Answer


class DermServeError(Exception):
    """Root of the tree; its text says what to do."""


class Unreachable(DermServeError):
    """No answer came: nobody listens there, the connection broke, or it took too long."""


class UnexpectedAnswer(DermServeError):
    """An answer came that this client cannot read."""


class Refused(DermServeError):
    """The server answered with an error, of one image or of a whole request."""

    statuses: ClassVar[frozenset[int]] = frozenset()
    codes: ClassVar[frozenset[str]] = frozenset()
    passing: ClassVar[bool] = False
    """Whether the same request may succeed in a moment."""

    def __init__(
        self, message: str, *, code: str, request_id: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        """Stable and made for programs: `image_too_large`."""
        self.request_id = request_id
        """What to quote to whoever runs the server."""
        self.retry_after_s = retry_after_s
        """Seconds after which to ask again; None if the server does not say."""

    def __str__(self) -> str:
        quoted = f", request {self.request_id}" if self.request_id else ""
        return f"{self.message} ({self.code}{quoted})"


class InvalidImage(Refused):
    """The image cannot be used: empty, cut off, no image, too many pixels or too few."""

    statuses = frozenset({415})
    codes = frozenset(
        {
            "empty_image",
            "truncated_image",
            "unsupported_image",
            "image_too_large",
            "image_too_small",
        }
    )


class TooLarge(Refused):
    """Too many bytes or files at once."""

    statuses = frozenset({413})
    codes = frozenset({"body_too_large", "too_many_files"})


class InvalidRequest(Refused):
    """The request cannot be answered as it came, for the reason that the message gives."""

    statuses = frozenset({400, 405, 408, 422, 431})


class AccessDenied(Refused):
    """The API key is missing or unknown, or may not do that."""

    statuses = frozenset({401, 403})


class NotFound(Refused):
    """There is none of that name."""

    statuses = frozenset({404})


class Conflict(Refused):
    """The state of the server forbids it, as the message says."""

    statuses = frozenset({409})


class TooManyRequests(Refused):
    """The API key has used up what it may ask for now."""

    statuses = frozenset({429})
    passing = True


class Unavailable(Refused):
    """The server is overloaded or starting, or a part of it is away."""

    statuses = frozenset({502, 503})
    codes = frozenset(
        {"overloaded", "model_unavailable", "stage_unavailable", "trainer_unavailable"}
    )
    passing = True


class DeadlineExceeded(Refused):
    """The answer was not ready in time."""

    statuses = frozenset({504})
    codes = frozenset({"deadline_exceeded"})


class StorageFull(Refused):
    """The server has no room left for what was sent."""

    statuses = frozenset({507})


class ServerMistake(Refused):
    """A bug of the server; its log tells more about the request id."""

    statuses = frozenset({500})
    codes = frozenset({"internal_error"})


class ErrorDetail(Answer):
    """An error on the wire."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(Answer):
    """The body of every answer of 400 and above."""

    error: ErrorDetail


def error_of_detail(detail: ErrorDetail) -> Refused:
    """An error that stands inside an answer: of one image among others, or in an event."""
    return _typed(detail, status=None)


def error_of(response: httpx.Response) -> Refused:
    """The error of a whole answer, whether it comes from the server or from a proxy before it."""
    try:
        detail = ErrorAnswer.model_validate_json(response.content).error
    except ValidationError:
        status = response.status_code
        detail = ErrorDetail(
            code=f"http_{status}",
            message=f"{response.url.host} answered {status} {response.reason_phrase}.",
            request_id=response.headers.get("x-request-id", ""),
        )
    return _typed(detail, response.status_code, _retry_after_s(response))


def _typed(detail: ErrorDetail, status: int | None, retry_after_s: float | None = None) -> Refused:
    kinds = Refused.__subclasses__()
    kind = next((kind for kind in kinds if detail.code in kind.codes), None) or next(
        (kind for kind in kinds if status in kind.statuses), Refused
    )
    return kind(
        detail.message,
        code=detail.code,
        request_id=detail.request_id,
        retry_after_s=retry_after_s,
    )


def _retry_after_s(response: httpx.Response) -> float | None:
    """The advice of a `Retry-After` header: seconds, or a date (RFC 9110, section 10.2.3)."""
    advice = response.headers.get("retry-after", "")
    if advice.isascii() and advice.isdecimal():
        return float(advice)
    try:
        moment = parsedate_to_datetime(advice)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
