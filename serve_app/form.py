"""Forms: multipart bodies, whole or refused, with their files in memory or on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message

from models.errors import BodyTooLarge, MalformedRequest, StorageFull, TooManyFiles

MAX_FIELDS = 16
"""Most fields without a file in a form that does not say otherwise."""

MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Of all fields without a file together: they wait in memory."""

DISK_BYTES = 64 * 1024
"""Of a file that may wait on disk: smaller ones are in memory all the same."""


class _Parser(MultiPartParser):
    """Starlette's, which takes a form that was cut off for a shorter one."""

    def __init__(
        self, request: Request, *, max_files: int, max_fields: int, memory_bytes: int
    ) -> None:
        super().__init__(
            request.headers, request.stream(), max_files=max_files, max_fields=max_fields
        )
        self.spool_max_size = memory_bytes  # of one file; a larger one waits on disk
        self._ended = False
        self._text_bytes = 0

    @property
    def _charset(self) -> str:
        """UTF-8: RFC 7578 knows no such parameter, and some of Python's codecs never end."""
        return "utf-8"

    @_charset.setter
    def _charset(self, _: str) -> None:
        pass

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > MAX_TEXT_BYTES:
                raise BodyTooLarge(
                    f"The form has over {MAX_TEXT_BYTES / 2**20:.3g} MiB of text. Send what "
                    "belongs in a file as one."
                )
        super().on_part_data(data, start, end)

    def on_end(self) -> None:
        self._ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._ended:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("It ends before its last boundary. Send the whole form.")
        return form


def is_form(request: Request) -> bool:
    """Whether a request announces a multipart form."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


@asynccontextmanager
async def open_form(
    request: Request,
    *,
    max_files: int,
    max_bytes: int,
    max_fields: int = MAX_FIELDS,
    on_disk: bool = False,
) -> AsyncIterator[FormData]:
    """Read a form; its files are there until it is closed.

    Args:
        request: with a multipart body.
        max_files: most parts with a file name.
        max_bytes: of the whole body.
        max_fields: most parts without one; each may have 1 MiB, and all `MAX_TEXT_BYTES`.
        on_disk: whether files of more than `DISK_BYTES` wait there. What is to leave no trace
            must not.

    Raises:
        BodyTooLarge, TooManyFiles: if it has more bytes, text or files.
        MalformedRequest: if it cannot be read, is not whole, or has too many or too long fields.
        StorageFull: if the disk has no room for its files.
    """
    refuse_announced(request, max_bytes)
    received = 0

    async def receive_within_limit() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        refuse_above(received, max_bytes)
        return message

    limited = Request(request.scope, receive_within_limit)
    try:
        parser = _Parser(
            limited,
            max_files=max_files,
            max_fields=max_fields,
            memory_bytes=DISK_BYTES if on_disk else max_bytes,
        )
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooManyFiles(
                f"One request may carry {max_files} file{'s' if max_files > 1 else ''}. "
                "Send the rest in further requests."
            ) from error
        raise MalformedRequest(f"The form cannot be read: {error.message}") from error
    except ClientDisconnect as error:
        raise MalformedRequest("The connection closed before the whole form came.") from error
    except ValueError as error:  # as Python says of a charset that no codec could be named after
        raise MalformedRequest(f"The form cannot be read: {error}.") from error
    except OSError as error:
        raise StorageFull(
            f"The server has no room to receive the form: {error.strerror}. Send it again later."
        ) from error
    try:
        yield form
    finally:
        await form.close()


def refuse_announced(request: Request, max_bytes: int) -> None:
    """Raise `BodyTooLarge` if the header already says that the body is."""
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        refuse_above(int(length), max_bytes)


def refuse_above(size: int, max_bytes: int, what: str = "body") -> None:
    """Raise `BodyTooLarge` if `size` bytes are more than `max_bytes`."""
    if size > max_bytes:
        raise BodyTooLarge(
            f"The {what} is larger than {max_bytes / 2**20:.3g} MiB. Send fewer or smaller images."
        )
