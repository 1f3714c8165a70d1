"""The archive without Ray: errors are values, and a slow chain or catalogue holds up little."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import data.catalogue.database
from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from data.catalogue.uploads import Uploads
from models.errors import MISTAKE, CatalogueUnavailable, DermServeError, NotFound
from models.log_records import REQUEST_FIELDS
from serve_app import archive as module
from serve_app.archive import Archive
from serve_app.message import Message
from serve_app.niceness import UPLOADS
from serve_app.upload import Label, NewImage, StoredImage, Verdict
from tests.conftest import PROJECT
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.test_upload_route import IMAGES
from tests.waiting import until

IMAGES_SENT = [NewImage(image, Label()) for image in IMAGES.values()]
NOBODY = "0" * 32


async def test_verdicts_in_the_order_of_the_images(archive: Archive) -> None:
    bad = NewImage(b"lesion", Label())
    sent = [bad, IMAGES_SENT[0], bad, IMAGES_SENT[1], IMAGES_SENT[0], bad]
    found = await archive.add(sent, "test")
    assert [verdict.verdict for verdict in found if isinstance(verdict, Verdict)] == [
        "rejected",
        "needs_label",
        "rejected",
        "needs_label",
        "duplicate",
        "rejected",
    ]
    assert await archive.add([], "test") == []
    assert [type(one) for one in await archive.add([bad], "test")] == [Verdict]


async def test_its_threads_know_whose_request_it_is(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def examine(*args: object) -> Any:
        seen.append(REQUEST_FIELDS.get().get("request_id"))
        raise ZeroDivisionError("a bug, which is logged there")

    monkeypatch.setattr("serve_app.archivist.examine", examine)
    token = REQUEST_FIELDS.set({"request_id": "mine-1"})
    await archive.add(IMAGES_SENT[:2], "test")
    REQUEST_FIELDS.reset(token)
    assert seen == ["mine-1"] * 2


async def test_errors_are_values(archive: Archive) -> None:
    values = {"label": "nv"}
    for answer in (
        await archive.get(NOBODY),
        await archive.image(NOBODY),
        await archive.change(NOBODY, values, "test"),
        await archive.delete(NOBODY, "test"),
    ):
        assert isinstance(answer, NotFound)
    assert isinstance(await archive.page({"limit": -1}), DermServeError)


async def test_a_bug_is_a_value_without_its_secrets(archive: Archive) -> None:
    answer = await archive.page({"no such filter": 1})
    assert isinstance(answer, DermServeError)
    assert (type(answer), answer.message) == (DermServeError, MISTAKE)


async def test_a_silent_chain_costs_the_uncertainty_and_not_the_upload(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        async def receive(self, message: Message) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(module, "SCORE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(archive, "_chain", InProcessHandle(Silent()))
    (verdict,) = await archive.add(IMAGES_SENT[:1], "test")
    assert isinstance(verdict, Verdict)
    upload = await archive.get(verdict.id or "")
    assert isinstance(upload, dict)
    assert upload["prediction"] is None


async def test_a_catalogue_that_fails_is_tried_once_for_a_chunk(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    catalogue = archive._archivist.catalogue

    def fail_from_the_third_on(*args: Any) -> Verdict:
        tried.append(1)
        if len(tried) > 2:
            raise CatalogueUnavailable("The catalogue is locked.")
        return catalogue(*args)

    monkeypatch.setattr(archive._archivist, "catalogue", fail_from_the_third_on)
    found = await archive.add(IMAGES_SENT, "test")
    assert [isinstance(verdict, Verdict) for verdict in found] == [True] * 2 + [False] * 5
    assert {type(verdict) for verdict in found[2:]} == {CatalogueUnavailable}
    assert len(tried) == 3


async def test_looking_does_not_wait_for_examinations(archive: Archive) -> None:
    (verdict,) = await archive.add(IMAGES_SENT[:1], "test")
    assert isinstance(verdict, Verdict)
    release = threading.Event()
    threads = archive._pixels._max_workers
    busy = [archive._pixels.submit(release.wait, 60) for _ in range(threads)]
    adding = asyncio.create_task(archive.add(IMAGES_SENT[1:2], "test"))
    image = await archive.image(verdict.id or "")
    assert isinstance(image, StoredImage)
    assert image.data.startswith(b"\xff\xd8\xff")
    assert not adding.done()
    assert not any(one.done() for one in busy)
    release.set()
    assert len(await adding) == 1


async def test_a_caller_who_leaves_stops_what_has_not_begun(archive: Archive) -> None:
    release = threading.Event()
    threads = archive._pixels._max_workers
    busy = [archive._pixels.submit(release.wait, 60) for _ in range(threads)]
    adding = asyncio.create_task(archive.add(IMAGES_SENT, "test"))
    queue = archive._pixels._work_queue
    await until(lambda: queue.qsize() == len(IMAGES_SENT), "they do not wait")
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    release.set()
    await asyncio.gather(*map(asyncio.wrap_future, busy))
    page = await archive.page({})
    assert isinstance(page, dict)
    assert page["total"] == 0


def _images(storage: Path) -> list[str]:
    return sorted(path.name for path in (storage / "images").rglob("*.jpg"))


async def test_a_catalogue_that_fails_leaves_no_images(
    archive: Archive, database: Database, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that cannot be removed while it fails go with the next upload."""
    with monkeypatch.context() as patch:
        patch.setattr(data.catalogue.database, "BUSY_TIMEOUT_S", 0.05)
        await archive.page({})  # the catalogue is made
        with closing(sqlite3.connect(storage / "catalogue.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            found = await archive.add(IMAGES_SENT, "test")
            assert {type(one) for one in found} == {CatalogueUnavailable}
            await _idle(archive)
            assert len(_images(storage)) == len(IMAGES_SENT)
    (verdict,) = await archive.add(IMAGES_SENT[:1], "test")
    assert isinstance(verdict, Verdict)
    assert [f"{one.content_hash}.jpg" for one in Uploads(database).page().items] == _images(storage)
    assert verdict.verdict == "needs_label"


async def test_of_a_chunk_that_fails_only_what_was_entered_stays(
    archive: Archive, database: Database, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = archive._archivist.catalogue
    calls = iter(range(100))

    def fail_at_the_third(*args: Any) -> Verdict:
        if next(calls) == 2:
            raise CatalogueUnavailable("The catalogue is locked.")
        return catalogue(*args)

    monkeypatch.setattr(archive._archivist, "catalogue", fail_at_the_third)
    found = await archive.add(IMAGES_SENT, "test")
    assert sum(isinstance(one, Verdict) for one in found) == 2
    await _idle(archive)
    hashes = [upload.content_hash for upload in Uploads(database).page().items]
    assert sorted(f"{one}.jpg" for one in hashes) == _images(storage)
    assert len(hashes) == 2


async def test_a_caller_who_leaves_while_the_model_looks_leaves_no_images(
    archive: Archive, database: Database, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = asyncio.Event()

    class Silent:
        async def receive(self, message: Message) -> None:
            looking.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(archive, "_chain", InProcessHandle(Silent()))
    adding = asyncio.create_task(archive.add(IMAGES_SENT, "test"))
    await looking.wait()
    assert len(_images(storage)) == len(IMAGES_SENT)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    await _idle(archive)
    assert _images(storage) == []
    assert Uploads(database).page().total == 0


async def test_a_caller_who_leaves_in_the_middle_of_storing_leaves_no_image(
    archive: Archive, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing, go_on = threading.Event(), threading.Event()
    put = archive._archivist._store.put

    def put_late(*args: Any) -> str:
        storing.set()
        assert go_on.wait(60)
        return put(*args)

    monkeypatch.setattr(archive._archivist._store, "put", put_late)
    adding = asyncio.create_task(archive.add(IMAGES_SENT[:1], "test"))
    await asyncio.to_thread(storing.wait, 60)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    go_on.set()
    await _idle(archive)
    assert _images(storage) == []


async def test_a_caller_who_leaves_while_his_upload_is_entered_leaves_both_or_none(
    archive: Archive, database: Database, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entering, go_on = threading.Event(), threading.Event()
    catalogue = archive._archivist.catalogue

    def enter_late(*args: Any) -> Verdict:
        entering.set()
        assert go_on.wait(60)
        return catalogue(*args)

    monkeypatch.setattr(archive._archivist, "catalogue", enter_late)
    adding = asyncio.create_task(archive.add(IMAGES_SENT[:2], "test"))
    await asyncio.to_thread(entering.wait, 60)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    go_on.set()
    await _idle(archive)
    (upload,) = Uploads(database).page().items
    assert _images(storage) == [f"{upload.content_hash}.jpg"]


async def _idle(archive: Archive) -> None:
    """Wait until the threads of pixels have nothing to do, and then those of the catalogue."""
    for pool in (archive._pixels, archive._catalogue):
        meeting = threading.Barrier(pool._max_workers + 1)
        for _ in range(pool._max_workers):
            pool.submit(meeting.wait, 60)
        await asyncio.to_thread(meeting.wait, 60)


def test_an_ingress_reads_keys_and_nothing_else_of_the_archive(
    database: Database, storage: Path
) -> None:
    """Each replica pays for what it imports; there are many of them and one archive."""
    Keys(database).create("nurse", [Role.PREDICT], "test")  # and so the tables are up to date
    code = (
        "import sys, serve_app.ingress\n"
        "from data.catalogue.database import Database\n"
        "from data.catalogue.keys import Keys\n"
        "print(len(Keys(Database()).all()))\n"
        "unwanted = {'alembic', 'scipy', 'imagehash', 'torch', 'mlflow'}\n"
        "archive = {'serve_app.archivist', 'data.intake', 'data.catalogue.uploads'}\n"
        "print((unwanted | archive) & sys.modules.keys())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    *_, count, unwanted = run.stdout.strip().splitlines()
    assert (count, unwanted) == ("1", "set()")


def test_predictions_go_first(archive: Archive) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    niceness = archive._pixels.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
    assert niceness == min(19, own + UPLOADS)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
