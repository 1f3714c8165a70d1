"""Where the files of a form wait: an upload's may on disk, all others leave no trace there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.types import Message

from models.errors import StorageFull
from serve_app.body import read_image, read_images
from serve_app.form import DISK_BYTES, open_form
from tests.serve_app.forms import FORM, file, form

LARGE = b"x" * (5 * DISK_BYTES)


def _request(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", FORM["content-type"].encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


@pytest.fixture
def without_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No temporary file can be made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))


@pytest.mark.usefixtures("without_disk")
async def test_what_is_classified_or_explained_stays_in_memory() -> None:
    assert await read_image(_request(form(file(LARGE))), 2 * len(LARGE)) == LARGE
    body = form(file(LARGE, "files", "a.jpg"), file(LARGE, "files", "b.jpg"))
    files = await read_images(
        _request(body), max_files=2, max_image_bytes=len(LARGE), max_bytes=3 * len(LARGE)
    )
    assert [each.data for each in files] == [LARGE, LARGE]


@pytest.mark.usefixtures("without_disk")
async def test_what_may_wait_on_disk_does() -> None:
    terms = {"max_files": 1, "max_bytes": 2 * len(LARGE)}
    with pytest.raises(StorageFull, match="no room"):
        async with open_form(_request(form(file(LARGE))), **terms, on_disk=True):
            pass
    small = b"x" * DISK_BYTES
    async with open_form(_request(form(file(small))), **terms, on_disk=True) as fields:
        found = fields["file"]
        assert isinstance(found, UploadFile)
        assert await found.read() == small
