"""Uploads: added once, labelled, listed, counted and removed, and all of it in the audit log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

from data.catalogue import audit
from data.catalogue.database import Database
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from data.catalogue.uploads import (
    LABEL_SOURCES,
    Order,
    TrainedModel,
    Upload,
    Uploads,
    UploadStatus,
)
from data.duplicates import NEAR_DUPLICATE_DISTANCE
from models.classes import CLASSES
from models.errors import InvalidField, NotFound, UnknownClass
from tests.data.catalogue.conftest import Opener
from tests.data.catalogue.examples import PREDICTION, Adder, fill, new_upload, similar

HOSTILE_IDS = [
    "",
    "1",
    "g" * 32,
    "A" * 32,
    "a" * 33,
    "a\0",
    "\ud800",
    "%",
    "' OR 1=1 --",
    "../" * 9,
]


@pytest.fixture
def adder(database: Database) -> Adder:
    return Adder(database)


def _events(database: Database) -> list[tuple[str, dict[str, Any]]]:
    audit.verify(database)
    entries = audit.latest(database, 1000)
    return [(entry.event, json.loads(entry.details)) for entry in entries]


def test_what_is_added_is_there(adder: Adder, uploads: Uploads, database: Database) -> None:
    new = new_upload(1, label_source="expert", lesion_id="L 1", uploader="Ä", prediction=PREDICTION)
    added = adder.add(new)
    assert (added.duplicate_of, added.exact) == (None, False)
    upload = uploads.get(added.upload.id)
    assert upload == added.upload
    assert {**asdict(new), "prediction": PREDICTION} == {
        name: getattr(upload, name) for name in asdict(new)
    }
    assert upload.status == "labelled"
    assert upload.created == upload.updated
    assert upload.created.utcoffset() is not None
    assert _events(database) == [
        (
            "upload.added",
            {
                "upload": upload.id,
                "content_hash": new.content_hash,
                "label": "mel",
                "label_source": "expert",
                "lesion_id": "L 1",
            },
        )
    ]


def test_an_upload_without_a_label_waits_for_one(adder: Adder) -> None:
    upload = adder.add(new_upload(1, label=None, label_source="expert")).upload
    assert upload.status == "needs_label"
    assert upload.label_source is None


def test_the_same_bytes_are_added_once(adder: Adder, uploads: Uploads, database: Database) -> None:
    first = adder.add(new_upload(1)).upload
    again = adder.add(new_upload(1, label="nv", uploader="another"))
    assert (again.upload, again.duplicate_of, again.exact) == (first, first.id, True)
    assert uploads.page().total == 1
    assert len(_events(database)) == 1


def test_the_same_picture_is_added_once(adder: Adder, database: Database, uploads: Uploads) -> None:
    first = adder.add(new_upload(1)).upload
    adder.add(new_upload(2))
    for archive in (adder, Adder(database)):  # this replica, and one that has just started
        near = similar(first.perceptual_hash, NEAR_DUPLICATE_DISTANCE)
        again = archive.add(new_upload(3, perceptual_hash=near))
        assert (again.duplicate_of, again.exact) == (first.id, False)
    far = similar(first.perceptual_hash, NEAR_DUPLICATE_DISTANCE + 1)
    assert adder.add(new_upload(3, perceptual_hash=far)).duplicate_of is None
    assert uploads.page().total == 3


def test_each_upload_is_read_once_for_the_index(database: Database, uploads: Uploads) -> None:
    told: list[list[str]] = []

    def near(unseen: Sequence[tuple[str, bytes]]) -> None:
        told.append([upload_id for upload_id, _ in unseen])

    ids = [upload.id for upload in fill(database, "mel", "nv")]
    for number in (2, 3):
        added = uploads.add(new_upload(number), "tester", near, forget=told.append)
        ids.append(added.upload.id)
    other = Adder(database).add(new_upload(4)).upload  # another replica's
    uploads.delete(ids[-1], "tester")
    uploads.add(new_upload(5), "tester", near, forget=told.append)
    assert told == [ids[:2], ids[2:3], [other.id]]


def test_an_index_that_fails_is_told_again(database: Database, uploads: Uploads) -> None:
    told: list[int] = []

    def near(unseen: Sequence[tuple[str, bytes]]) -> None:
        told.append(len(unseen))
        if len(told) == 1:
            raise MemoryError

    fill(database, "mel")
    with pytest.raises(MemoryError):
        uploads.add(new_upload(1), "tester", near, forget=told.append)
    uploads.add(new_upload(1), "tester", near, forget=told.append)
    assert told == [1, 1]
    assert uploads.page().total == 2


def test_what_was_deleted_is_no_duplicate_in_any_replica(
    database: Database, uploads: Uploads
) -> None:
    replicas = [Adder(database), Adder(database)]
    first = replicas[0].add(new_upload(1)).upload
    picture = first.perceptual_hash
    second = (
        replicas[1]
        .add(new_upload(2, perceptual_hash=similar(picture, NEAR_DUPLICATE_DISTANCE + 1)))
        .upload
    )
    uploads.delete(first.id, "tester")
    # Nearer to the one that is gone, but near to the other one too.
    between = replicas[1].add(new_upload(3, perceptual_hash=similar(picture, 10)))
    assert between.duplicate_of == second.id
    uploads.delete(second.id, "tester")
    for replica in replicas:
        added = replica.add(new_upload(4, perceptual_hash=similar(picture, 10))).upload
        uploads.delete(added.id, "tester")
    again = replicas[0].add(new_upload(1))
    assert again.duplicate_of is None
    assert again.upload.id != first.id


def test_an_index_that_cannot_forget_does_not_hang(database: Database, uploads: Uploads) -> None:
    gone = fill(database, "mel")[0].id
    uploads.delete(gone, "tester")
    with pytest.raises(RuntimeError, match="told to forget"):
        uploads.add(new_upload(2), "tester", lambda _: gone, forget=lambda _: None)
    assert uploads.page().total == 0


def test_the_image_is_kept_before_the_upload_is_added(adder: Adder, uploads: Uploads) -> None:
    def fail() -> None:
        raise OSError("no image store")

    with pytest.raises(OSError, match="no image store"):
        adder.add(new_upload(1), keep=fail)
    assert uploads.page().total == 0
    kept: list[int] = []
    for _ in range(2):
        adder.add(new_upload(1), keep=lambda: kept.append(1))
    assert kept == [1]  # a duplicate's is not


def test_an_image_is_released_when_no_upload_needs_it(adder: Adder, uploads: Uploads) -> None:
    upload = adder.add(new_upload(1)).upload
    removed: list[str] = []
    for _ in range(2):
        uploads.release(upload.image_key, lambda: removed.append(upload.image_key))
        if not removed:
            uploads.delete(upload.id, "tester")
    assert removed == [upload.image_key]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"label": "melanoma"}, UnknownClass),
        ({"label": "MEL"}, UnknownClass),
        ({"label": ""}, UnknownClass),
        ({"label": "\0"}, UnknownClass),
        ({"label_source": "guess"}, InvalidField),
        ({"label_source": ""}, InvalidField),
        ({"lesion_id": ""}, InvalidField),
        ({"lesion_id": "a\0b"}, InvalidField),
        ({"lesion_id": "x" * 129}, InvalidField),
        ({"uploader": "\ud800"}, InvalidField),
        ({"uploader": "a\nb"}, InvalidField),
    ],
)
def test_what_cannot_be_stored_is_refused(
    adder: Adder, database: Database, values: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        adder.add(new_upload(1, **values))
    upload = adder.add(new_upload(1)).upload
    changes = {name: value for name, value in values.items() if name != "uploader"}
    if changes:
        with pytest.raises(error):
            adder.uploads.change(upload.id, actor="tester", **changes)
    with pytest.raises(error):
        adder.uploads.page(**values)
    assert adder.uploads.page().items == (upload,)
    assert len(_events(database)) == 1


def test_an_uncertainty_outside_its_range_is_refused_by_the_database(adder: Adder) -> None:
    with pytest.raises(Exception, match="uncertainty"):
        adder.add(new_upload(1, prediction=replace(PREDICTION, uncertainty=1.5)))
    assert adder.uploads.page().total == 0


@pytest.mark.parametrize("upload_id", HOSTILE_IDS)
def test_what_is_not_there_is_told(uploads: Uploads, upload_id: str) -> None:
    for use in (
        lambda: uploads.get(upload_id),
        lambda: uploads.change(upload_id, actor="tester", label="mel"),
        lambda: uploads.delete(upload_id, "tester"),
    ):
        with pytest.raises(NotFound, match="There is no upload"):
            use()


# Changes.


def test_a_change_of_a_label_is_written_down(
    adder: Adder, uploads: Uploads, database: Database
) -> None:
    upload = adder.add(new_upload(1, label_source="user", lesion_id="L")).upload
    changed = uploads.change(upload.id, actor="reviewer", label="nv", label_source="histopathology")
    assert (changed.label, changed.label_source, changed.lesion_id) == ("nv", "histopathology", "L")
    assert changed.updated > upload.updated
    assert changed == uploads.get(upload.id)
    assert _events(database)[1:] == [
        (
            "upload.changed",
            {
                "upload": upload.id,
                "old": {"label": "mel", "label_source": "user"},
                "new": {"label": "nv", "label_source": "histopathology"},
            },
        )
    ]


@pytest.mark.parametrize(
    "values",
    [{}, {"label": "mel"}, {"label_source": "user"}, {"label": "mel", "lesion_id": "L"}],
)
def test_what_changes_nothing_leaves_no_trace(
    adder: Adder, uploads: Uploads, database: Database, values: dict[str, Any]
) -> None:
    upload = adder.add(new_upload(1, label_source="user", lesion_id="L")).upload
    assert uploads.change(upload.id, actor="tester", **values) == upload
    assert len(_events(database)) == 1


@pytest.mark.parametrize("label", ["nv", None])
def test_a_new_label_loses_the_source_of_the_old_one(
    adder: Adder, uploads: Uploads, label: str | None
) -> None:
    upload = adder.add(new_upload(1, label_source="histopathology")).upload
    changed = uploads.change(upload.id, actor="tester", label=label)
    assert (changed.label, changed.label_source) == (label, None)


def test_a_source_needs_a_label(adder: Adder, uploads: Uploads) -> None:
    upload = adder.add(new_upload(1, label=None)).upload
    for values in ({"label_source": "user"}, {"label_source": "user", "label": None}):
        with pytest.raises(InvalidField, match="Send a label"):
            uploads.change(upload.id, actor="tester", **values)
    assert uploads.get(upload.id) == upload


def test_every_source_and_class_can_be_stored(adder: Adder, uploads: Uploads) -> None:
    upload = adder.add(new_upload(1)).upload
    for label in CLASSES:
        for source in LABEL_SOURCES:
            changed = uploads.change(upload.id, actor="t", label=label, label_source=source)
            assert (changed.label, changed.label_source) == (label, source)


# Lists.


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "543210"),
        ({"order": "oldest"}, "012345"),
        ({"status": "labelled"}, "5310"),
        ({"status": "needs_label"}, "42"),
        ({"label": "mel"}, "50"),
        ({"label_source": "expert"}, "1"),
        ({"uploader": "a"}, "3210"),
        ({"lesion_id": "L1", "order": "oldest"}, "14"),
        ({"lesion_id": "L1", "label": "nv"}, "1"),
        ({"order": "uncertainty"}, "413025"),
        ({"order": "uncertainty", "status": "needs_label"}, "42"),
        ({"label": "vasc"}, ""),
        ({"uploader": "%"}, ""),
    ],
)
def test_filters_and_orders(
    adder: Adder, uploads: Uploads, filters: dict[str, Any], expected: str
) -> None:
    labels = ("mel", "nv", None, "df", None, "mel")
    uncertainties = (0.2, 0.8, None, 0.5, 0.9, None)
    for number, (label, uncertainty) in enumerate(zip(labels, uncertainties, strict=True)):
        prediction = uncertainty and replace(PREDICTION, uncertainty=uncertainty)
        adder.add(
            new_upload(
                number,
                label=label,
                label_source="expert" if number == 1 else None,
                uploader="a" if number < 4 else "b",
                lesion_id=f"L{number % 3}",
                prediction=prediction or None,
                width=number,
            )
        )
    page = uploads.page(**filters)
    assert "".join(str(upload.width) for upload in page.items) == expected
    assert page.total == len(expected)
    pages = [uploads.page(**filters, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [upload for part in pages for upload in part.items] == list(page.items)
    assert {part.total for part in pages} == {page.total}


@pytest.mark.parametrize(
    "arguments",
    [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"offset": 10**30}, {"limit": -(10**30)}],
)
def test_a_page_has_bounds(uploads: Uploads, arguments: dict[str, int]) -> None:
    with pytest.raises(InvalidField, match="must be"):
        uploads.page(**arguments)  # type: ignore[arg-type]


def test_an_unknown_order_or_status_is_told(uploads: Uploads) -> None:
    order: Order = "random()"  # type: ignore[assignment]
    status: UploadStatus = "deleted"  # type: ignore[assignment]
    with pytest.raises(InvalidField, match="newest, oldest, uncertainty"):
        uploads.page(order=order)
    with pytest.raises(InvalidField, match="labelled or needs_label"):
        uploads.page(status=status)


# What training sees.


def test_an_upload_is_new_until_a_run_has_its_label(
    database: Database, uploads: Uploads, runs: Runs
) -> None:
    assert uploads.counts().newest_change is None
    first, second, third, fourth = fill(database, "mel", "nv", "nv", None)
    counts = uploads.counts()
    zeros = dict.fromkeys(CLASSES, 0)
    assert counts.labelled == counts.new == zeros | {"mel": 1, "nv": 2}
    assert counts.needs_label == 1
    assert counts.newest_change == third.updated
    assert uploads.trainable() == (first, second, third)

    run = runs.request("head", "manual", "tester")
    runs.claim(run.id, "owner", 10)
    runs.snapshot(run.id, "owner", uploads.trainable(), "1", "2")
    counts = uploads.counts()
    assert counts.labelled == zeros | {"mel": 1, "nv": 2}
    assert counts.new == zeros
    assert counts.newest_change is None

    relabelled = uploads.change(second.id, actor="tester", label="df")
    assert uploads.counts().new == zeros | {"df": 1}
    assert uploads.counts().newest_change == relabelled.updated
    uploads.change(second.id, actor="tester", label="nv")
    assert uploads.counts().new == zeros
    uploads.change(fourth.id, actor="tester", label="bkl")
    uploads.delete(first.id, "tester")
    assert uploads.counts().labelled == zeros | {"nv": 2, "bkl": 1}
    assert uploads.counts().new == zeros | {"bkl": 1}
    assert [upload.id for upload in uploads.trainable()] == [second.id, third.id, fourth.id]


def test_a_deletion_says_which_models_learned_from_the_upload(
    database: Database, uploads: Uploads, runs: Runs
) -> None:
    kept, deleted = fill(database, "mel", "nv")

    def run(version: str, images: Sequence[Upload], state: Any, decided: bool = True) -> None:
        number = runs.request("head", "manual", "tester").id
        runs.claim(number, "owner", 10)
        runs.snapshot(number, "owner", images, "1", version)
        if decided:
            runs.decide(number, "owner", {"passed": state == "promoted"})
        if state is not None:
            runs.finish(number, "owner", state, None)

    run("2", [kept, deleted], "promoted")
    run("3", [kept], "promoted")
    run("4", [deleted], "refused")
    run("5", [deleted], "failed", decided=False)
    run("6", [deleted], None, decided=False)
    gone = uploads.delete(deleted.id, "tester")
    assert gone.upload == deleted
    assert gone.models == (
        TrainedModel("2", promoted=True),
        TrainedModel("4", promoted=False),
        TrainedModel("6", promoted=False),
    )
    event, details = _events(database)[-1]
    assert event == "upload.deleted"
    assert details["upload"] == deleted.id
    assert details["models"] == ["2", "4", "6"]
    with pytest.raises(NotFound):
        uploads.get(deleted.id)
    assert uploads.delete(kept.id, "tester").models[0] == TrainedModel("2", promoted=True)


def test_a_model_that_was_forced_over_the_gate_is_named_as_champion(
    database: Database, uploads: Uploads, runs: Runs
) -> None:
    (upload,) = fill(database, "mel")
    number = runs.request("head", "manual", "tester").id
    runs.claim(number, "owner", 10)
    runs.snapshot(number, "owner", [upload], "1", "2")
    runs.decide(number, "owner", {"passed": False})
    runs.finish(number, "owner", "refused", None)
    rollouts = Rollouts(database)
    rollout = rollouts.begin("promotion", "1", "2", "tester", "switching", forced=True)
    rollouts.update(rollout.id, state="observing", observation={"until": "2026-01-01"})
    rollouts.update(rollout.id, state="reverted")
    assert uploads.delete(upload.id, "tester").models == (TrainedModel("2", promoted=True),)


def test_another_process_sees_it_all(
    database: Database, url: str, uploads: Uploads, opened: Opener
) -> None:
    (upload,) = fill(database, "mel")
    other = Uploads(opened(url))
    assert other.get(upload.id) == upload
    other.change(upload.id, actor="tester", label="nv")
    assert uploads.get(upload.id).label == "nv"
