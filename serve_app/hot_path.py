"""The hot path: one route answered without the framework's way to it.

FastAPI finds the route, resolves dependencies and opens context managers for every request,
which takes longer than all that is ours in the ingress. `POST /predict` without a query needs
none of it. What it answers is the same, from the same handler (tests hold the two against each
other); anything else goes the usual way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


def with_hot_path(app: FastAPI, path: str, handler: Handler) -> FastAPI:
    """Have an application answer `POST path` by a handler that raises nothing.

    Args:
        app: changed; its middleware does not see those requests.
        path: without a query; one with a query goes the usual way.
        handler: makes the answer.
    """
    # Serve itself goes through the routes, in order, to name each request in its metrics.
    app.router.routes.sort(key=lambda route: getattr(route, "path", None) != path)
    build = app.build_middleware_stack

    def build_with_hot_path() -> ASGIApp:
        rest = build()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if (
                scope["type"] == "http"
                and scope["path"] == path
                and scope["method"] == "POST"
                and not scope["query_string"]
            ):
                response = await handler(Request(scope, receive))
                await response(scope, receive, send)
            else:
                await rest(scope, receive, send)

        return answer

    app.build_middleware_stack = build_with_hot_path  # type: ignore[method-assign]
    return app
