"""What Prometheus is told of what the archive could not do."""

from __future__ import annotations

import pytest

from models.errors import CatalogueUnavailable, NotFound, StorageFull
from serve_app import archivist
from serve_app.archive import Archive
from serve_app.archive_metrics import ArchiveMetrics
from serve_app.upload import Label, NewImage
from tests.serve_app.told import record_told, value_of

ERRORS = "dermserve_archive_errors"


def test_the_callers_errors_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told = record_told(monkeypatch, ERRORS)
    metrics = ArchiveMetrics()
    assert len(told) == 3  # they begin at zero
    metrics.count_error(NotFound("no such upload"))
    assert sum(told.values()) == 0
    metrics.count_error(CatalogueUnavailable("away"))
    assert value_of(told, ERRORS, code="catalogue_unavailable") == 1


async def test_an_archive_counts_its_errors(
    archive: Archive, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = record_told(monkeypatch, ERRORS)
    await archive.get("0" * 32)  # is not there
    assert not told

    def full(*args: object) -> None:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(archivist.ImageStore, "put", full)
    (answer,) = await archive.add([NewImage(jpeg, Label("nv"))], "test")
    assert isinstance(answer, StorageFull)
    assert value_of(told, ERRORS, code="storage_full") == 1
    monkeypatch.setattr(archivist.Archivist, "get", lambda *_: 1 / 0)
    await archive.get("0" * 32)
    assert value_of(told, ERRORS, code="internal_error") == 1
