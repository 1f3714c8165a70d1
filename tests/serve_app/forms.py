"""Multipart bodies, whole and broken, and what every error answer has to look like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import httpx

from serve_app import schemas

BOUNDARY = "aBc123"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
END = f"--{BOUNDARY}--\r\n".encode()

Part = tuple[str, bytes]
"""The parameters of a Content-Disposition, and the contents."""


def file(contents: bytes, field: str = "file", name: str = "a.jpg") -> Part:
    return f'name="{field}"; filename="{name}"', contents


def form(*parts: Part) -> bytes:
    """A whole body; without its last `len(END)` bytes it is an unfinished one."""
    lines = [
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
        + contents
        + b"\r\n"
        for disposition, contents in parts
    ]
    return b"".join(lines) + END


async def chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A body whose length is not announced."""
    for part in parts:
        yield part


def error_of(response: httpx.Response, status: int, code: str) -> schemas.ErrorDetail:
    """The error of an answer that must have this status and code, in the one form."""
    answer = schemas.ErrorResponse.model_validate_json(response.content)
    assert (response.status_code, answer.error.code) == (status, code)
    assert code in schemas.ERROR_CODES
    assert response.headers["content-type"] == "application/json"
    assert len(answer.error.message) > 10
    return answer.error
