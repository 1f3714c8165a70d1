"""The caretaker: old uploads go, images without an upload go, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from data.catalogue.audit import catalogue_id
from data.catalogue.database import Database
from data.catalogue.retention import expired_uploads
from data.catalogue.tables import AuditRow, UploadRow
from data.catalogue.uploads import Uploads
from data.image_store import ORPHANS_FILE, OWNER_FILE, ImageStore
from data.known_images import KnownImages
from data.synthetic import synthetic_jpeg
from models.errors import CatalogueUnavailable, NotFound
from models.limits import DEFAULT_LIMITS
from serve_app.archivist import Archivist
from serve_app.caretaker import ACTOR, INTERVAL_S, Caretaker, Round
from serve_app.clock_watch import ClockWatch
from serve_app.upload import Label, NewImage

DAYS = 30.0


@pytest.fixture
def archivist(database: Database) -> Archivist:
    return Archivist(Uploads(database), ImageStore(), KnownImages.load(), DEFAULT_LIMITS)


def _caretaker(archivist: Archivist, database: Database, days: float | None = None) -> Caretaker:
    return Caretaker(archivist, database, ImageStore(), days)


def _upload(archivist: Archivist, seed: int) -> str:
    image = NewImage(synthetic_jpeg("nv", seed=seed), Label("nv", "expert", None), None)
    taken = archivist.take(image)
    verdict = archivist.catalogue(taken, None, "test")  # type: ignore[arg-type]
    assert verdict.id is not None
    return verdict.id


def _age(database: Database, upload_id: str, days: float) -> None:
    came = datetime.now(timezone.utc) - timedelta(days=days)
    with database.writing() as session:
        session.execute(update(UploadRow).where(UploadRow.id == upload_id).values(created=came))


def _files(storage: Path) -> list[Path]:
    found = (path for path in (storage / "images").rglob("*") if path.is_file())
    return sorted(path for path in found if path.name != OWNER_FILE)


def _leave_behind(seed: int) -> str:
    """An image as a crash leaves it, stored and not catalogued."""
    data = synthetic_jpeg("mel", seed=seed)
    return ImageStore().put(hashlib.sha256(data).hexdigest(), ".jpg", data)


def test_uploads_past_their_time_are_deleted_with_their_images(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    old, young = _upload(archivist, 1), _upload(archivist, 2)
    _age(database, old, DAYS + 0.01)
    _age(database, young, DAYS - 0.01)
    assert _caretaker(archivist, database, DAYS).go_round() == Round(expired=1, orphans=0)
    with pytest.raises(NotFound):
        Uploads(database).get(old)
    (file,) = _files(storage)
    assert file.stem == Uploads(database).get(young).content_hash
    with database.reading() as session:
        newest = session.query(AuditRow).order_by(AuditRow.number.desc()).first()
        assert newest is not None
        assert (newest.event, newest.actor) == ("upload.deleted", ACTOR)
        assert json.loads(newest.details)["upload"] == old
    assert _caretaker(archivist, database, DAYS).go_round() == Round(0, 0)


def test_a_clock_that_leaps_deletes_nothing_until_it_is_believed(
    archivist: Archivist,
    database: Database,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upload_id, uptime_s = _upload(archivist, 1), 0.0
    clock = ClockWatch(lambda: uptime_s)
    caretaker = Caretaker(archivist, database, ImageStore(), DAYS, clock)
    assert caretaker.go_round() == Round(0, 0)
    # The clock of SQLite's catalogue is this machine's.
    leapt = datetime.now(timezone.utc) + timedelta(days=2 * DAYS)
    monkeypatch.setattr("serve_app.caretaker.now", lambda session: leapt)
    monkeypatch.setattr("data.catalogue.retention.now", lambda session: leapt)
    monkeypatch.setattr(logging.getLogger("ray.serve"), "propagate", True)
    uptime_s += INTERVAL_S
    assert caretaker.go_round() == Round(0, 0)
    assert "Set the clock right" in caplog.text
    assert Uploads(database).get(upload_id).id == upload_id
    leapt, uptime_s = leapt + timedelta(days=1), uptime_s + 86400
    assert caretaker.go_round() == Round(expired=1, orphans=0)


def test_by_default_uploads_are_kept_for_ever(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    upload = _upload(archivist, 1)
    _age(database, upload, 36_000)
    caretaker = _caretaker(archivist, database)
    assert [caretaker.go_round() for _ in range(3)] == [Round(0, 0)] * 3
    assert Uploads(database).get(upload).id == upload
    assert len(_files(storage)) == 1


def test_more_uploads_than_are_read_at_a_time(
    archivist: Archivist, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.caretaker._AT_A_TIME", 2)
    for seed in range(5):
        _age(database, _upload(archivist, seed), DAYS + 1)
    assert expired_uploads(database, DAYS, limit=2) != ()
    assert _caretaker(archivist, database, DAYS).go_round().expired == 5
    assert expired_uploads(database, DAYS, limit=2) == ()


def test_an_image_that_a_crash_left_behind_is_removed_in_the_second_round(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    upload = _upload(archivist, 1)
    caretaker = _caretaker(archivist, database)
    caretaker.go_round()  # the store belongs to the catalogue from here on
    key = _leave_behind(7)
    assert caretaker.go_round() == Round(0, 0)
    assert ImageStore().exists(key)  # its upload might be on its way into the catalogue
    assert caretaker.go_round() == Round(expired=0, orphans=1)
    assert not ImageStore().exists(key)
    assert [file.stem for file in _files(storage)] == [Uploads(database).get(upload).content_hash]


def test_an_upload_that_is_catalogued_between_two_rounds_keeps_its_image(
    archivist: Archivist, database: Database
) -> None:
    image = NewImage(synthetic_jpeg("nv", seed=3), Label("nv", "expert", None), None)
    taken = archivist.take(image)
    caretaker = _caretaker(archivist, database)
    caretaker.go_round()
    verdict = archivist.catalogue(taken, None, "test")  # type: ignore[arg-type]
    assert caretaker.go_round() == Round(0, 0)
    assert archivist.image(verdict.id or "").data


def test_an_upload_that_takes_longer_than_two_rounds_has_its_image_again(
    archivist: Archivist, database: Database
) -> None:
    _upload(archivist, 1)
    caretaker = _caretaker(archivist, database)
    caretaker.go_round()
    image = NewImage(synthetic_jpeg("nv", seed=3), Label("nv", "expert", None), None)
    taken = archivist.take(image)
    assert [caretaker.go_round().orphans for _ in range(2)] == [0, 1]
    verdict = archivist.catalogue(taken, None, "test")  # type: ignore[arg-type]
    assert archivist.image(verdict.id or "").data


def test_what_a_power_cut_left_half_written_is_removed_once_it_is_old(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    key = Uploads(database).get(_upload(archivist, 1)).image_key
    folder = storage / "images" / key[:2]
    old, young = folder / ".abc.partial", folder / ".def.partial"
    for path in (old, young):
        path.write_bytes(b"\xff\xd8half")
    hours_ago = time.time() - INTERVAL_S - 60
    os.utime(old, (hours_ago, hours_ago))
    assert _caretaker(archivist, database).go_round() == Round(expired=0, orphans=1)
    assert _files(storage) == sorted([young, storage / "images" / key])


def test_files_that_are_no_images_of_ours_are_left_alone(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    _upload(archivist, 1)
    for name in ("notes.txt", "ab/readme.jpg"):
        path = storage / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    caretaker = _caretaker(archivist, database)
    assert [caretaker.go_round() for _ in range(2)] == [Round(0, 0)] * 2
    assert len(_files(storage)) == 3


def test_a_store_that_is_not_there_yet_is_an_empty_one(
    archivist: Archivist, database: Database
) -> None:
    assert _caretaker(archivist, database, DAYS).go_round() == Round(0, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_store_that_cannot_be_read_is_an_error_and_no_reason_to_delete(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    upload = _upload(archivist, 1)
    (storage / "images").chmod(0)
    try:
        with pytest.raises(CatalogueUnavailable):
            _caretaker(archivist, database).go_round()
    finally:
        (storage / "images").chmod(0o700)
    assert archivist.image(upload).data


def _other_server(storage: Path, name: str) -> tuple[Archivist, Database]:
    """Over the same image store, with a catalogue of its own."""
    database = Database(f"sqlite:///{storage / name}")
    return Archivist(Uploads(database), ImageStore(), KnownImages.load(), DEFAULT_LIMITS), database


def _errors(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(row.getMessage() for row in caplog.records if row.levelname == "ERROR")


@pytest.mark.parametrize("uploads_of_the_other", [0, 1, 5])
def test_with_a_wrong_catalogue_nothing_is_removed(
    archivist: Archivist,
    database: Database,
    storage: Path,
    caplog: pytest.LogCaptureFixture,
    uploads_of_the_other: int,
) -> None:
    """A mistyped DERMSERVE_CATALOGUE, or two servers that share a store."""
    for seed in range(3):
        _upload(archivist, seed)
    _caretaker(archivist, database).go_round()
    other, catalogue = _other_server(storage, "mistyped.db")
    for seed in range(10, 10 + uploads_of_the_other):
        _age(catalogue, _upload(other, seed), DAYS + 1)
    before = _files(storage)
    caretaker = _caretaker(other, catalogue, DAYS)
    assert [caretaker.go_round() for _ in range(3)] == [Round(0, 0)] * 3
    assert _files(storage) == before
    assert "it belongs to another catalogue than" in _errors(caplog)
    assert "mistyped.db. Set DERMSERVE_CATALOGUE" in _errors(caplog)
    assert ImageStore().owner() == catalogue_id(database)
    catalogue.close()


@pytest.mark.parametrize("uploads_of_the_other", [0, 1, 5])
def test_a_store_that_does_not_say_whose_it_is_loses_nothing_to_a_stranger(
    archivist: Archivist, storage: Path, caplog: pytest.LogCaptureFixture, uploads_of_the_other: int
) -> None:
    """As one that was filled before stores said whose they are."""
    for seed in range(3):
        _upload(archivist, seed)
    other, catalogue = _other_server(storage, "mistyped.db")
    for seed in range(10, 10 + uploads_of_the_other):
        _upload(other, seed)
    before = _files(storage)
    caretaker = _caretaker(other, catalogue)
    assert [caretaker.go_round() for _ in range(3)] == [Round(0, 0)] * 3
    assert _files(storage) == before
    assert ImageStore().owner() is None
    assert f"of {len(before)} images, 3 have no upload in the catalogue" in _errors(caplog)
    assert (catalogue_id(catalogue) or "the id that it has after") in _errors(caplog)
    catalogue.close()


def test_an_operator_may_say_whose_a_store_is(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    _upload(archivist, 1)
    key = _leave_behind(7)
    caretaker = _caretaker(archivist, database)
    assert [caretaker.go_round() for _ in range(3)] == [Round(0, 0)] * 3
    (storage / "images" / OWNER_FILE).write_text(f"{catalogue_id(database)}")
    assert caretaker.go_round() == Round(expired=0, orphans=1)
    assert not ImageStore().exists(key)


def test_an_older_backup_of_the_catalogue_loses_no_images(
    archivist: Archivist,
    database: Database,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("serve_app.caretaker.MAX_ORPHANS", 2)
    _upload(archivist, 0)
    _caretaker(archivist, database).go_round()
    backup = storage / "backup.db"
    with (
        closing(sqlite3.connect(storage / "catalogue.db")) as source,
        closing(sqlite3.connect(backup)) as copy,
    ):
        source.backup(copy)
    for seed in range(1, 4):
        _upload(archivist, seed)
    restored, catalogue = _other_server(storage, "backup.db")
    before = _files(storage)
    caretaker = _caretaker(restored, catalogue)
    assert [caretaker.go_round() for _ in range(3)] == [Round(0, 0)] * 3
    assert "there are 3 among 4" in _errors(caplog)
    assert "restore a newer one" in _errors(caplog)
    listed = storage / "images" / ORPHANS_FILE
    names = listed.read_text().split()
    assert len(names) == 3
    listed.unlink()
    assert _files(storage) == before
    # With two, a crash may have left them; a third that went by hand leaves two.
    ImageStore().delete(names[0])
    assert caretaker.go_round() == Round(expired=0, orphans=2)
    catalogue.close()


def test_in_a_large_store_five_percent_may_go(
    archivist: Archivist, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.caretaker.MAX_ORPHANS", 0)
    for seed in range(19):
        _upload(archivist, seed)
    caretaker = _caretaker(archivist, database)
    caretaker.go_round()
    _leave_behind(100)
    assert [caretaker.go_round().orphans for _ in range(2)] == [0, 1]


def test_a_copy_of_an_image_further_down_is_neither_removed_nor_counted(
    archivist: Archivist, database: Database, storage: Path
) -> None:
    key = Uploads(database).get(_upload(archivist, 1)).image_key
    caretaker = _caretaker(archivist, database)
    caretaker.go_round()
    copy = storage / "images" / "backup" / _leave_behind(7)
    copy.parent.mkdir(parents=True)
    (storage / "images" / copy.relative_to(storage / "images" / "backup")).rename(copy)
    assert [caretaker.go_round() for _ in range(3)] == [Round(0, 0)] * 3
    assert _files(storage) == sorted([copy, storage / "images" / key])


def test_only_what_was_removed_is_counted(
    archivist: Archivist, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _upload(archivist, 1)
    caretaker = _caretaker(archivist, database)
    caretaker.go_round()
    key = _leave_behind(7)
    caretaker.go_round()

    def away(self: ImageStore, key: str) -> bool:
        raise CatalogueUnavailable("The image store does not work.")

    with monkeypatch.context() as broken:
        broken.setattr(ImageStore, "delete", away)
        assert caretaker.go_round() == Round(0, 0)
    assert ImageStore().exists(key)
    assert caretaker.go_round() == Round(expired=0, orphans=1)


def test_two_catalogues_are_never_taken_for_one(database: Database, storage: Path) -> None:
    assert catalogue_id(database) is None
    ids = set()
    for name in ("a.db", "b.db"):
        archivist, catalogue = _other_server(storage, name)
        _upload(archivist, 1)
        first = catalogue_id(catalogue)
        _upload(archivist, 2)
        assert catalogue_id(catalogue) == first
        ids.add(first)
        catalogue.close()
    assert len(ids) == 2
    assert None not in ids


async def test_delete_really_deletes(
    api: httpx.AsyncClient, database: Database, storage: Path, jpeg: bytes
) -> None:
    files = {"files": ("mrs-smith.jpg", jpeg, "image/jpeg")}
    sent = await api.post("/upload/bulk", files=files, data={"labels": "nv", "uploader": "Ada"})
    upload_id = sent.json()["results"][0]["id"]
    assert len(_files(storage)) == 1
    assert (await api.delete(f"/uploads/{upload_id}")).status_code == 200
    assert _files(storage) == []
    for path in (f"/uploads/{upload_id}", f"/uploads/{upload_id}/image"):
        assert (await api.get(path)).status_code == 404
    with database.reading() as session:
        assert session.query(UploadRow).count() == 0
        rows = [row.details for row in session.query(AuditRow)]
    # What stays is what an audit asks for, and names neither the sender's file nor a person.
    assert all("mrs-smith" not in row and "Ada" not in row for row in rows)
    assert [json.loads(row)["upload"] for row in rows] == [upload_id] * 2
