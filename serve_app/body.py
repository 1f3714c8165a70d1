"""Request bodies: images out of raw bodies and forms, within byte limits, never all in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from models.errors import (
    BodyTooLarge,
    DermServeError,
    EmptyImage,
    MalformedRequest,
    MissingFile,
    TooManyFiles,
)

# Room for part headers and boundaries on top of the images themselves.
_FORM_OVERHEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file of a form."""

    name: str
    """What the client calls it: echoed, never used as a path."""
    data: bytes | DermServeError
    """Its contents, or why they were not read."""


async def read_image(request: Request, max_bytes: int) -> bytes:
    """The image of a `/predict` request: the form field `file`, or the body itself.

    Raises:
        BodyTooLarge, EmptyImage, MissingFile, TooManyFiles, MalformedRequest.
    """
    if not _is_form(request):
        return await _read_body(request, max_bytes)
    limit = max_bytes + _FORM_OVERHEAD_BYTES
    async with _open_form(request, "file", max_files=1, max_bytes=limit) as files:
        data = await files[0].read()
    _check_size(len(data), max_bytes)
    return data


async def read_images(
    request: Request, *, max_files: int, max_image_bytes: int, max_bytes: int
) -> list[ImageFile]:
    """The images of a `/predict/batch` request: the form fields `files`.

    Args:
        request: with a multipart body.
        max_files: most files.
        max_image_bytes: of one file; a larger one becomes an error beside the others.
        max_bytes: of the whole body.

    Raises:
        BodyTooLarge, MissingFile, TooManyFiles, MalformedRequest.
    """
    if not _is_form(request):
        raise MalformedRequest(
            "Send a multipart form with one field `files` per image: "
            "curl -F files=@a.jpg -F files=@b.jpg ..."
        )
    files = []
    async with _open_form(request, "files", max_files=max_files, max_bytes=max_bytes) as uploads:
        for upload in uploads:
            try:
                _check_size(upload.size or 0, max_image_bytes)
                data: bytes | DermServeError = await upload.read()
            except (BodyTooLarge, EmptyImage) as error:
                data = error
            files.append(ImageFile(upload.filename or "", data))
    return files


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _read_body(request: Request, max_bytes: int) -> bytes:
    _refuse_announced(request, max_bytes)
    parts = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            _refuse_above(size, max_bytes)
            parts.append(part)
    except ClientDisconnect as error:
        raise MalformedRequest("The connection closed before the whole body came.") from error
    if size == 0:
        raise EmptyImage("The body is empty. Send an image as the body or as the form field file.")
    return b"".join(parts)


@asynccontextmanager
async def _open_form(
    request: Request, field: str, *, max_files: int, max_bytes: int
) -> AsyncIterator[list[UploadFile]]:
    """The files of one form field; large ones wait on disk, not in memory, until closed."""
    _refuse_announced(request, max_bytes)
    received = 0

    async def receive_within_limit() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        _refuse_above(received, max_bytes)
        return message

    limited = Request(request.scope, receive_within_limit)
    try:
        form = await limited.form(max_files=max_files, max_fields=16)
    except HTTPException as error:  # how Starlette reports a form it cannot or will not read
        if "Too many files" in str(error.detail):
            raise TooManyFiles(
                f"One request may carry {max_files} file{'s' if max_files > 1 else ''}. "
                "Send the rest in further requests."
            ) from error
        raise MalformedRequest(f"The form cannot be read: {error.detail}") from error
    except ClientDisconnect as error:
        raise MalformedRequest("The connection closed before the whole form came.") from error
    try:
        files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
        if not files:
            raise MissingFile(
                f"The form has no file in a field named {field}. "
                f"Send it as `-F {field}=@image.jpg`."
            )
        yield files
    finally:
        await form.close()


def _refuse_announced(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        _refuse_above(int(length), max_bytes)


def _refuse_above(size: int, max_bytes: int, what: str = "body") -> None:
    if size > max_bytes:
        raise BodyTooLarge(
            f"The {what} is larger than {max_bytes / 2**20:.3g} MiB. Send fewer or smaller images."
        )


def _check_size(size: int, max_bytes: int) -> None:
    if size == 0:
        raise EmptyImage("The file is empty.")
    _refuse_above(size, max_bytes, "file")
