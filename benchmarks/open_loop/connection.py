"""A keep-alive connection of the open-loop generator: one request at a time, parsed in C."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from httptools import HttpParserError, HttpResponseParser


class Pool(Protocol):
    """Whom a connection reports to."""

    def opened(self, connection: Connection) -> None:
        """It is there; `idle` follows."""
        ...

    def answered(self, connection: Connection, status: int, retry_after: bool, body: bytes) -> None:
        """The request in flight has its whole answer."""
        ...

    def broken(self, connection: Connection, reason: str) -> None:
        """The request in flight will get no answer."""
        ...

    def idle(self, connection: Connection) -> None:
        """The next request may be sent."""
        ...

    def closed(self, connection: Connection) -> None:
        """It is gone; nothing is in flight."""
        ...


class Connection(asyncio.Protocol):
    """One connection; `send` may be called when it is idle."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._in_flight = False
        self._writing = False
        self._ends = False
        self._reset()

    def send(self, request: bytes) -> None:
        """Write a whole request, head and body."""
        self._in_flight = True
        self._transport.write(request)

    def abandon(self) -> None:
        """Close without a word to the pool, whatever is in flight."""
        self._in_flight = False
        self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Told at once when a request is not written whole, and again when it is.
        self._transport.set_write_buffer_limits(high=0)
        self._pool.opened(self)
        self._pool.idle(self)

    def pause_writing(self) -> None:
        self._writing = True

    def resume_writing(self) -> None:
        self._writing = False
        if not self._in_flight and not self._ends:
            self._pool.idle(self)

    def data_received(self, data: bytes) -> None:
        if not self._in_flight:
            self._transport.abort()  # an answer to nothing, such as a 408 before it closes
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._in_flight = False
            self._pool.broken(self, "garbage")
            self._transport.abort()
            return
        if self._complete:
            self._answer()

    def connection_lost(self, error: Exception | None) -> None:
        if self._in_flight:
            if self._status and not self._framed and error is None:
                self._answer()  # HTTP/1.0: the end of the connection ends the body
            else:
                self._in_flight = False
                self._pool.broken(self, "connection")
        self._pool.closed(self)

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"retry-after":
            self._retry_after = True
        elif lowered in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        self._complete = True

    def _answer(self) -> None:
        status, retry_after, body = self._status, self._retry_after, b"".join(self._body)
        self._in_flight = False
        self._ends = not self._complete or not self._parser.should_keep_alive()
        self._reset()
        self._pool.answered(self, status, retry_after, body)
        if self._ends:
            self._transport.close()
        elif not self._writing:
            # An early refusal may come while its request is still being written; the next
            # request waits for that.
            self._pool.idle(self)

    def _reset(self) -> None:
        self._status = 0
        self._retry_after = False
        self._framed = False
        self._complete = False
        self._body: list[bytes] = []
