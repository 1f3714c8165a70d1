"""Request bodies: images out of raw bodies and forms, and JSON, within byte limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from models.errors import (
    BodyTooLarge,
    DermServeError,
    EmptyImage,
    InvalidField,
    MalformedRequest,
    MissingFile,
)
from serve_app.form import is_form, open_form, refuse_above, refuse_announced

MAX_JSON_BYTES = 64 * 1024
"""Of the body of a route that takes no images."""

# Room for part headers and boundaries on top of the images themselves.
_FORM_OVERHEAD_BYTES = 64 * 1024
_MAX_PROBLEMS = 5  # named in one answer

Model = TypeVar("Model", bound=BaseModel)


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
    if not is_form(request):
        data = await read_body(request, max_bytes)
        if not data:
            raise EmptyImage(
                "The body is empty. Send an image as the body or as the form field file."
            )
        return data
    limit = max_bytes + _FORM_OVERHEAD_BYTES
    async with open_form(request, max_files=1, max_bytes=limit) as form:
        data = await files_of(form, "file")[0].read()
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
    require_form(request)
    async with open_form(request, max_files=max_files, max_bytes=max_bytes) as form:
        return [await read_file(file, max_image_bytes) for file in files_of(form, "files")]


async def read_file(file: UploadFile, max_bytes: int) -> ImageFile:
    """One file of an open form; `BodyTooLarge` and `EmptyImage` stand beside its name."""
    try:
        _check_size(file.size or 0, max_bytes)
        data: bytes | DermServeError = await file.read()
    except (BodyTooLarge, EmptyImage) as error:
        data = error
    return ImageFile(file.filename or "", data)


async def read_json(request: Request, model: type[Model]) -> Model:
    """A small JSON body; an empty one counts as an object without fields.

    Raises:
        BodyTooLarge: if it has over 64 KiB.
        MalformedRequest: if it is no JSON.
        InvalidField: if it breaks a rule of `model`.
    """
    body = await read_body(request, MAX_JSON_BYTES) or b"{}"
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        if problems[0]["type"] == "json_invalid":
            raise MalformedRequest("The body is no JSON. Send an object.") from error
        raise InvalidField(invalid_fields(problems)) from error


def invalid_fields(problems: Sequence[Any]) -> str:
    """What pydantic or FastAPI found wrong with some fields, in a sentence each."""
    return " ".join(
        f"{'.'.join(map(str, problem['loc']))[:100] or 'The body'}: {problem['msg']}."
        for problem in problems[:_MAX_PROBLEMS]
    )


def require_form(request: Request) -> None:
    """Raise `MalformedRequest` with an example unless a request announces a form."""
    if not is_form(request):
        raise MalformedRequest(
            "Send a multipart form with one field `files` per image: "
            "curl -F files=@a.jpg -F files=@b.jpg ..."
        )


def files_of(form: FormData, field: str) -> list[UploadFile]:
    """The files of one field.

    Raises:
        MissingFile: if there is none.
    """
    files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    if not files:
        raise MissingFile(
            f"The form has no file in a field named {field}. Send it as `-F {field}=@image.jpg`."
        )
    return files


async def read_body(request: Request, max_bytes: int) -> bytes:
    """A whole body.

    Raises:
        BodyTooLarge: if it has more bytes.
        MalformedRequest: if the connection closed before its end.
    """
    refuse_announced(request, max_bytes)
    parts = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            refuse_above(size, max_bytes)
            parts.append(part)
    except ClientDisconnect as error:
        raise MalformedRequest("The connection closed before the whole body came.") from error
    return b"".join(parts)


def _check_size(size: int, max_bytes: int) -> None:
    if size == 0:
        raise EmptyImage("The file is empty.")
    refuse_above(size, max_bytes, "file")
