"""What a browser is told with every answer: not to guess, frame, remember or pass on."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Send

Headers = tuple[tuple[bytes, bytes], ...]

# The pages of /docs bring their scripts along and begin them from within the page.
_DOCS_POLICY = (
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; font-src 'self'; worker-src blob:; connect-src 'self'; "
    b"frame-ancestors 'none'"
)
_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_DOCS = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})
_STATIC = "/static-offline-docs/"

_ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_ANSWER: Headers = (
    *_ALWAYS,
    (b"content-security-policy", _POLICY),
    (b"cache-control", b"no-store"),
)
_PAGE: Headers = (*_ALWAYS, (b"content-security-policy", _DOCS_POLICY))


def telling(send: Send, path: str) -> Send:
    """A `send` that adds the headers an answer does not have itself.

    Args:
        send: of the server.
        path: that was asked for.
    """
    added = _PAGE if path in _DOCS or path.startswith(_STATIC) else _ANSWER

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            given = {name for name, _ in headers}
            headers.extend(pair for pair in added if pair[0] not in given)
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


def allow_origins(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Let the pages of some origins call an application from a browser."""
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PATCH", "DELETE"),
        allow_headers=("authorization", "x-api-key", "x-request-id", "traceparent", "tracestate"),
        expose_headers=("retry-after", "x-request-id", "x-model-version"),
    )
