"""An application that is observed: stands before everything else, and answers nothing itself."""

from __future__ import annotations

import asyncio
from typing import Any

import fastapi.routing
from fastapi import FastAPI
from opentelemetry.trace import SpanContext
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.log_records import REQUEST_FIELDS
from serve_app.access.caller import SCOPE_KEY
from serve_app.telemetry.observer import GONE, Observer, Outcome, tell_log
from serve_app.telemetry.trace_context import context_of_headers

_METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)
_ASKED = ("type", "method", "path", "root_path")
_OTHER = "_OTHER"
"""What OpenTelemetry calls a method that nobody knows."""


def with_observer(app: FastAPI, observer: Observer) -> FastAPI:
    """Have an observer before an application.

    Args:
        app: changed; call this last, so that every answer is seen.
        observer: told of each request.
    """
    build = app.build_middleware_stack

    def build_observed() -> ASGIApp:
        return _ObservedApp(build(), _routes_of(app), observer)

    app.build_middleware_stack = build_observed  # type: ignore[method-assign]
    return app


class _ObservedApp:
    """An application before another one."""

    def __init__(self, app: ASGIApp, routes: list[Any], observer: Observer) -> None:
        self._app = app
        self._routes = routes
        self._observer = observer
        self._watches = observer.watches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = context_of_headers(scope["headers"])
        if caller is None and not self._watches:
            await self._app(scope, receive, send)
            return
        token = REQUEST_FIELDS.set(REQUEST_FIELDS.get())
        try:
            if self._watches:
                await self._observe(scope, receive, send, caller)
            else:
                tell_log(Headers(scope=scope).get("x-request-id", ""), caller)
                await self._app(scope, receive, send)
        finally:
            REQUEST_FIELDS.reset(token)

    async def _observe(
        self, scope: Scope, receive: Receive, send: Send, caller: SpanContext | None
    ) -> None:
        headers = Headers(scope=scope)
        asked = {name: scope.get(name, "") for name in _ASKED}  # what answers may change it
        observed = self._observer.begin(headers.get("x-request-id", ""), caller)
        if not self._observer.tells(observed):
            await self._app(scope, receive, send)
            return
        status, size_bytes = 0, 0

        async def send_observed(message: Message) -> None:
            nonlocal status, size_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except asyncio.CancelledError:
            status = status or GONE
            raise
        except BaseException:
            status = status or 500
            raise
        finally:
            known = scope.get(SCOPE_KEY)
            key = None if known is None else known.key
            announced = headers.get("content-length", "")
            outcome = Outcome(
                protocol="http",
                method=scope["method"] if scope["method"] in _METHODS else _OTHER,
                route=self._route_of(asked),
                status=status,
                request_bytes=int(announced) if _is_size(announced) else None,
                response_bytes=size_bytes,
                key_id=None if key is None else key.id,
            )
            self._observer.end(observed, outcome)

    def _route_of(self, scope: Scope) -> str | None:
        """The template of the route that was asked for, whoever has answered."""
        partial = None
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return _template(route)
            if match is Match.PARTIAL and partial is None:
                partial = _template(route)
        return partial


def _routes_of(app: FastAPI) -> list[Any]:
    """Its routes with those of the routers it includes, in the order they are asked."""
    flat = getattr(fastapi.routing, "iter_route_contexts", iter)  # older ones have them flat
    return list(flat(app.router.routes))


def _template(route: Any) -> str | None:
    path: str | None = getattr(route, "path", None)
    return path


def _is_size(announced: str) -> bool:
    return announced.isascii() and announced.isdecimal() and len(announced) <= 18
