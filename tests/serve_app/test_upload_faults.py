"""Uploads while something fails: a clear error, nothing acknowledged lost, and a way to go on."""

from __future__ import annotations

import asyncio
import io
import re
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import UploadFile

import data.catalogue.database
from data.catalogue.database import Database
from data.catalogue.uploads import Uploads
from data.image_store import ImageStore
from models.errors import DeadlineExceeded, Overloaded, StageUnavailable
from serve_app import form as form_module
from serve_app.archive import Archive
from serve_app.archive_client import MAX_UPLOADS, ArchiveClient
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from serve_app.upload import Label, NewImage, Verdict
from serve_app.upload_form import UploadForm
from tests.serve_app.forms import FORM, error_of, file, form
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.test_upload_route import ALL, IMAGES, NV, answer, sent, stored, text, verdicts

_NONE = Label()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond a kilobyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_no_room_for_images(
    api: httpx.AsyncClient, database: Database, storage: Path
) -> None:
    first = answer(await api.post("/upload/bulk", **sent(ALL[0])))
    with full_disk():
        response = await api.post("/upload/bulk", **sent(*ALL))
    error = error_of(response, 507, "storage_full")
    assert "At least 0 of 7 files were stored" in error.message
    assert len(stored(database)) == 1
    assert len([path for path in (storage / "images").rglob("*") if path.is_file()]) == 1
    again = answer(await api.post("/upload/bulk", **sent(*ALL)))
    assert verdicts(again) == ["duplicate", *["needs_label"] * 6]
    assert again.results[0].duplicate_of == first.results[0].id


async def test_no_room_to_receive(
    api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_module._Parser, "spool_max_size", 1000)
    with full_disk():
        response = await api.post("/upload/bulk", **sent(*ALL))
    error_of(response, 507, "storage_full")
    assert stored(database) == ()
    assert verdicts(answer(await api.post("/upload/bulk", **sent(ALL[0])))) == ["needs_label"]


async def test_a_locked_catalogue(
    api: httpx.AsyncClient, database: Database, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.catalogue.database, "BUSY_TIMEOUT_S", 0.05)
    assert stored(database) == ()  # it exists
    with closing(sqlite3.connect(storage / "catalogue.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        response = await api.post("/upload/bulk", **sent(*ALL))
        error_of(response, 503, "catalogue_unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert (await api.get("/uploads")).json()["total"] == 0
    found = answer(await api.post("/upload/bulk", **sent(*ALL)))
    assert verdicts(found) == ["needs_label"] * 7


class _Failing:
    """An archive that is lost, or silent, from some chunk on."""

    def __init__(self, archive: Archive, good_chunks: int, error: Exception | None) -> None:
        self._archive = archive
        self._good_chunks = good_chunks
        self._error = error

    async def add(self, images: list[NewImage], actor: str) -> list[Any]:
        self._good_chunks -= 1
        if self._good_chunks >= 0:
            return await self._archive.add(images, actor)
        if self._error is None:
            await asyncio.Event().wait()
        return [self._error] * len(images)


async def test_an_archive_that_is_lost_between_two_chunks(
    api: httpx.AsyncClient,
    archive: Archive,
    archive_client: ArchiveClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = StageUnavailable("A part of the server is restarting.")
    monkeypatch.setattr(archive_client, "_archive", InProcessHandle(_Failing(archive, 2, error)))
    found = error_of(await api.post("/upload/bulk", **sent(*ALL)), 503, "stage_unavailable")
    assert len(stored(database)) == 4
    assert "At least 4 of 7 files were stored" in found.message


async def test_an_archive_that_falls_silent_between_two_chunks(
    archive: Archive, archive_client: ArchiveClient, database: Database
) -> None:
    silent: Any = InProcessHandle(_Failing(archive, 2, None))
    client = ArchiveClient(silent, archive_client._settings)
    deadline = asyncio.get_running_loop().time() + 2
    files = [UploadFile(io.BytesIO(one), size=len(one)) for one in IMAGES.values()]
    with pytest.raises(DeadlineExceeded) as raised:
        await client.add(UploadForm(files, [_NONE] * len(files), None), "test", deadline)
    assert asyncio.get_running_loop().time() >= deadline
    said = re.search(r"At least (\d) of 7 files were stored", raised.value.message)
    assert said is not None
    assert int(said[1]) <= len(stored(database)) <= 4


async def test_reading_a_body_takes_of_its_deadline(
    api: httpx.AsyncClient,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Serve hangs up after a time that counts from the beginning of the request."""
    loop = asyncio.get_running_loop()
    ends: list[float] = []

    async def body() -> AsyncIterator[bytes]:
        ends.append(loop.time() + archive_client._settings.deadline_s)
        yield form(ALL[0])

    async def add(upload: UploadForm, actor: str, deadline: float) -> list[Verdict]:
        ends.append(deadline)
        loop.time = lambda: deadline - 2  # type: ignore[method-assign]
        return [Verdict("rejected", reason="It is a test.")]

    async def ask(method: str, *, timeout_s: float) -> None:
        del loop.time  # type: ignore[attr-defined]
        ends.append(timeout_s)

    monkeypatch.setattr(archive_client, "add", add)
    monkeypatch.setattr(trainer_client, "ask", ask)
    answer(await api.post("/upload/bulk", content=body(), headers=FORM))
    at_first_byte, given, left_s = ends
    assert given <= at_first_byte
    assert left_s == pytest.approx(2)


async def test_an_upload_that_is_late_already_is_not_begun(
    archive: Archive, archive_client: ArchiveClient, database: Database, storage: Path
) -> None:
    files = [UploadFile(io.BytesIO(NV), size=len(NV))]
    late = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded, match="Send fewer images"):
        await archive_client.add(UploadForm(files, [_NONE], None), "test", late)
    assert stored(database) == ()
    assert not (storage / "images").exists()


async def test_more_uploads_than_places(
    api: httpx.AsyncClient, archive_client: ArchiveClient
) -> None:
    places = [archive_client.place() for _ in range(MAX_UPLOADS)]
    for place in places:
        place.__enter__()
    response = await api.post("/upload/bulk", **sent(ALL[0]))
    error_of(response, 503, "overloaded")
    assert response.headers["retry-after"] == "1"
    for place in places:
        place.__exit__(None, None, None)
    assert verdicts(answer(await api.post("/upload/bulk", **sent(ALL[0])))) == ["needs_label"]


async def test_a_place_is_given_back_whatever_happens(
    api: httpx.AsyncClient, archive_client: ArchiveClient
) -> None:
    for parts in ([file(b"", "file")], [ALL[0], text("labels", "{")], [ALL[0]]):
        await api.post("/upload/bulk", **sent(*parts))
    assert archive_client._uploads == 0
    with pytest.raises(Overloaded):
        _hold(archive_client, MAX_UPLOADS + 1)
    assert archive_client._uploads == 0


def _hold(client: ArchiveClient, places: int) -> None:
    with client.place():
        if places > 1:
            _hold(client, places - 1)


async def test_many_uploads_at_once_store_each_picture_once(
    api: httpx.AsyncClient, database: Database, storage: Path
) -> None:
    responses = await asyncio.gather(
        *(api.post("/upload/bulk", **sent(*ALL)) for _ in range(MAX_UPLOADS))
    )
    accepted = [
        result.filename
        for response in responses
        for result in answer(response).results
        if result.id is not None
    ]
    assert sorted(accepted) == sorted(f"{code}.jpg" for code in IMAGES)
    assert len(stored(database)) == 7
    assert len(list((storage / "images").rglob("*.*"))) == 7


async def test_two_replicas_store_each_picture_once(
    archive: Archive, chain: Any, settings: ServeSettings, database: Database
) -> None:
    handle: Any = InProcessHandle(chain.preprocessor)
    other = Archive(handle, settings)
    images = [NewImage(image, _NONE) for image in IMAGES.values()]
    results = await asyncio.gather(
        *(replica.add(images, "test") for replica in (archive, other) * 4)
    )
    found = [verdict for result in results for verdict in result]
    assert all(isinstance(verdict, Verdict) for verdict in found)
    assert sum(verdict.verdict == "needs_label" for verdict in found) == 7  # type: ignore[union-attr]
    assert len(stored(database)) == 7
    for upload in stored(database):
        ImageStore().get(upload.image_key)
    other._pixels.shutdown()
    other._catalogue.shutdown()


async def test_deleting_and_uploading_one_picture_at_once_never_leaves_a_row_without_image(
    archive: Archive, database: Database
) -> None:
    uploads = Uploads(database)

    async def delete() -> None:
        for upload in uploads.page().items:
            await archive.delete(upload.id, "test")

    for _ in range(10):
        await asyncio.gather(
            archive.add([NewImage(NV, _NONE)], "test"),
            delete(),
            archive.add([NewImage(NV, _NONE)], "test"),
            delete(),
        )
        for upload in stored(database):
            assert ImageStore().exists(upload.image_key)


async def test_a_lost_image_is_stored_again_before_its_row(
    archive: Archive, database: Database, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another replica deletes an equal upload between the file and the row."""
    score = archive._score

    async def lose_the_files(images: list[bytes]) -> list[Any]:
        for path in (storage / "images").rglob("*.jpg"):
            path.unlink()
        return await score(images)

    monkeypatch.setattr(archive, "_score", lose_the_files)
    (verdict,) = await archive.add([NewImage(NV, _NONE)], "test")
    assert isinstance(verdict, Verdict)
    (upload,) = stored(database)
    assert ImageStore().get(upload.image_key)
