"""The guard: stands before every route, the hot path too, and costs a few microseconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI
from starlette._utils import get_route_path  # what the router goes by; anything else may differ
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import BodyTooLarge, DermServeError, NotFound
from serve_app.access.access import Access
from serve_app.access.browser import allow_origins, telling
from serve_app.access.caller import SCOPE_KEY, Caller
from serve_app.access.routes import body_of, need_of
from serve_app.access.timed_body import timed
from serve_app.body import MAX_JSON_BYTES
from serve_app.settings import ServeSettings

_MAX_DIGITS = 18
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Answer = Callable[[DermServeError, str, str], Response]
"""Makes the answer of an error, of the path that was asked for and of the request's id."""


def with_guard(app: FastAPI, access: Access, settings: ServeSettings, answer: Answer) -> FastAPI:
    """Have a guard before an application.

    Args:
        app: changed; call this last, so that nothing that answers stands before the guard.
        access: says who may ask for what.
        settings: the time for bodies, and the origins that browsers may call from.
        answer: makes the answers of the guard's own errors.
    """
    build = app.build_middleware_stack

    def build_guarded() -> ASGIApp:
        guarded: ASGIApp = _Guard(build(), access, settings, answer)
        origins = settings.allowed_origins
        return allow_origins(guarded, origins) if origins else guarded

    app.build_middleware_stack = build_guarded  # type: ignore[method-assign]
    return app


class _Guard:
    """An application before another one."""

    def __init__(
        self, app: ASGIApp, access: Access, settings: ServeSettings, answer: Answer
    ) -> None:
        self._app = app
        self._access = access
        self._timeout_s = settings.body_timeout_s
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = get_route_path(scope)
        send = telling(send, path)
        headers = Headers(scope=scope)
        try:
            receive = await self._admit(scope, path, headers, receive)
        except DermServeError as error:
            response = self._answer(error, path, headers.get("x-request-id", ""))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, path: str, headers: Headers, receive: Receive) -> Receive:
        """Name the caller of a request that may be answered; its body, as it may come."""
        method = scope["method"]
        if _CONTROL.search(path):
            # The router does not see a line break at the end of a path; whatever looks may.
            raise NotFound("No path has a control character, and this one does. Send it without.")
        size_bytes = _announced(headers)
        caller = await self._access.authorise(headers, need_of(method, path), size_bytes or 0)
        counts = size_bytes is None and caller.key is not None
        arrived = partial(self._spend, caller) if counts else None
        _refuse_body(method, path, headers, size_bytes)
        scope[SCOPE_KEY] = caller
        return timed(receive, self._timeout_s, arrived)

    def _spend(self, caller: Caller, size_bytes: int) -> None:
        self._access.spend(caller, size_bytes=size_bytes)


def _refuse_body(method: str, path: str, headers: Headers, size_bytes: int | None) -> None:
    """Refuse what nobody would read, and Serve would keep until the answer is over."""
    takes = body_of(method, path)
    if takes in ("images", "anything"):  # limits of its own, or not read at all
        return
    if method in ("GET", "HEAD") and (size_bytes or _comes_unannounced(headers, size_bytes)):
        raise BodyTooLarge(f"{method} takes no body. Send the request without one.")
    if takes == "nothing" and _comes_unannounced(headers, size_bytes):
        raise BodyTooLarge(
            f"{method} takes no body of unknown length here. Send the request without one."
        )
    if (size_bytes or 0) > MAX_JSON_BYTES:
        raise BodyTooLarge(
            f"{method} takes a body of at most {MAX_JSON_BYTES // 1024} KiB here. Send less."
        )


def _comes_unannounced(headers: Headers, size_bytes: int | None) -> bool:
    announced = "transfer-encoding" in headers or "content-length" in headers
    return announced and size_bytes is None


def _announced(headers: Headers) -> int | None:
    """Bytes of a body, as far as they are certain; others are counted as they come."""
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not length.isdecimal() or len(length) > _MAX_DIGITS:
        return None
    return int(length)
