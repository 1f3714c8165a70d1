"""An object store that is away for a while: uploads wait outside, and nothing accepted is lost."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx
import pytest

from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.image_store import IMAGES_VARIABLE, ImageStore
from tests.object_store import BUCKET, ObjectStore
from tests.serve_app.forms import error_of
from tests.serve_app.test_upload_route import ALL, NV, answer, sent, stored, verdicts


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, object_store: ObjectStore) -> Path:
    """The catalogue in a folder, the images in an object store."""
    monkeypatch.setenv(CATALOGUE_VARIABLE, f"sqlite:///{tmp_path / 'catalogue.db'}")
    monkeypatch.setenv(IMAGES_VARIABLE, f"s3://{BUCKET}/{uuid.uuid4().hex}")
    return tmp_path


async def test_uploads_come_back_and_predictions_go_on(
    api: httpx.AsyncClient, database: Database, object_store: ObjectStore
) -> None:
    first = answer(await api.post("/upload/bulk", **sent(*ALL[:2])))
    assert verdicts(first) == ["needs_label"] * 2
    with object_store.away():
        refused = await api.post("/upload/bulk", **sent(*ALL))
        error = error_of(refused, 503, "catalogue_unavailable")
        assert refused.headers["retry-after"] == "2"
        assert "At least 0 of 7 files were stored" in error.message
        assert (await api.post("/predict", content=NV)).status_code == 200
        # The catalogue is elsewhere: what it knows, it says.
        assert (await api.get("/uploads")).json()["total"] == 2
        away = await api.get(f"/uploads/{first.results[0].id}/image")
        error_of(away, 503, "catalogue_unavailable")
        # Nor does a deletion fail; its image goes when the store is back.
        assert (await api.delete(f"/uploads/{first.results[1].id}")).status_code == 200
    again = answer(await api.post("/upload/bulk", **sent(*ALL)))
    assert verdicts(again) == ["duplicate", *["needs_label"] * 6]
    store = ImageStore()
    assert sorted(store.stored()) == sorted(upload.image_key for upload in stored(database))
    assert all(store.get(upload.image_key) for upload in stored(database))
