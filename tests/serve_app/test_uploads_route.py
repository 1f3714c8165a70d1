"""The review queue over HTTP: list, look, label, remove."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from data.catalogue import audit, uploads
from data.catalogue.database import Database
from data.catalogue.runs import Runs
from data.catalogue.uploads import Uploads
from data.frozen import FrozenSplit
from models.classes import CLASSES
from models.preprocessing import decode_image
from serve_app import upload_schemas as schemas
from serve_app.archive_client import ArchiveClient
from tests.serve_app.forms import error_of, file
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.test_upload_route import ALL, IMAGES, NV, answer, sent, stored, text

NOBODY = "0" * 32


@pytest.fixture
async def queue(api: httpx.AsyncClient) -> list[str]:
    """Ids of seven uploads, one of each class; the last four without a label."""
    codes = [text("labels", code) for code in CLASSES[:3]] + [text("labels", "")] * 4
    common = [text("uploader", "Ada"), text("lesion_id", "L1"), text("label_source", "expert")]
    found = answer(await api.post("/upload/bulk", **sent(*ALL, *codes, *common)))
    return [result.id or "" for result in found.results]


async def _ids(api: httpx.AsyncClient, **filters: Any) -> list[str]:
    response = await api.get("/uploads", params=filters)
    assert response.status_code == 200, response.text
    page = schemas.UploadPage.model_validate_json(response.content)
    assert len(page.uploads) <= page.total
    return [upload.id for upload in page.uploads]


async def test_an_empty_queue(api: httpx.AsyncClient) -> None:
    assert (await api.get("/uploads")).json() == {"uploads": [], "total": 0}


async def test_filters_and_order(api: httpx.AsyncClient, queue: list[str]) -> None:
    assert await _ids(api) == queue[::-1]
    assert await _ids(api, order="oldest") == queue
    assert await _ids(api, order="oldest", status="labelled") == queue[:3]
    assert await _ids(api, order="oldest", status="needs_label") == queue[3:]
    assert await _ids(api, label="bcc") == [queue[1]]
    assert len(await _ids(api, label_source="expert")) == 3
    assert await _ids(api, label_source="consensus") == []
    assert len(await _ids(api, uploader="Ada", lesion_id="L1")) == 7
    assert await _ids(api, uploader="ada") == []


async def test_the_review_queue_begins_with_what_the_model_knows_least(
    api: httpx.AsyncClient, queue: list[str]
) -> None:
    response = await api.get("/uploads", params={"status": "needs_label", "order": "uncertainty"})
    page = schemas.UploadPage.model_validate_json(response.content)
    uncertainties = [item.prediction.uncertainty for item in page.uploads if item.prediction]
    assert len(uncertainties) == 4
    assert uncertainties == sorted(uncertainties, reverse=True)
    assert len(set(uncertainties)) > 1


async def test_pages(api: httpx.AsyncClient, queue: list[str]) -> None:
    pages = [await _ids(api, order="oldest", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert pages == [queue[:3], queue[3:6], queue[6:], []]
    assert (await api.get("/uploads", params={"limit": 1})).json()["total"] == 7


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"limit": 0}, "invalid_field"),
        ({"limit": 201}, "invalid_field"),
        ({"limit": "all"}, "invalid_field"),
        ({"offset": -1}, "invalid_field"),
        ({"offset": 10**30}, "invalid_field"),
        ({"order": "random"}, "invalid_field"),
        ({"status": "done"}, "invalid_field"),
        ({"label": "melanoma"}, "unknown_class"),
        ({"label_source": "guess"}, "invalid_field"),
        ({"uploader": "x" * 200}, "invalid_field"),
        ({"lesion_id": "\x00"}, "invalid_field"),
        ({"lesion_id": "' OR 1=1 --"}, None),
    ],
    ids=str,
)
async def test_parameters_that_cannot_be(
    api: httpx.AsyncClient, parameters: dict[str, Any], code: str | None
) -> None:
    response = await api.get("/uploads", params=parameters)
    if code is None:
        assert response.json()["total"] == 0
    else:
        assert len(error_of(response, 422, code).message) < 500


async def test_one_upload(api: httpx.AsyncClient, queue: list[str], database: Database) -> None:
    response = await api.get(f"/uploads/{queue[0]}")
    found = schemas.Upload.model_validate_json(response.content)
    assert (found.label, found.label_source, found.status) == ("akiec", "expert", "labelled")
    assert "key" not in response.text  # of the store
    known = {field.name for field in fields(uploads.Upload)} | {"status"}
    assert set(schemas.Upload.model_fields) == known - {"image_key", "perceptual_hash"}
    assert found.content_hash == stored(database)[0].content_hash


async def test_the_image_of_an_upload(api: httpx.AsyncClient, queue: list[str]) -> None:
    for upload_id, image in zip(queue, IMAGES.values(), strict=True):
        response = await api.get(f"/uploads/{upload_id}/image")
        assert response.status_code == 200
        assert (decode_image(response.content) == decode_image(image)).all()
        assert response.headers["content-type"] == "image/jpeg"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        content_hash = (await api.get(f"/uploads/{upload_id}")).json()["content_hash"]
        disposition = response.headers["content-disposition"]
        assert disposition == f'inline; filename="{content_hash}.jpg"'


async def test_an_image_that_was_damaged_or_lost(
    api: httpx.AsyncClient, queue: list[str], storage: Path
) -> None:
    for path in (storage / "images").rglob("*.jpg"):
        path.write_bytes(b"\xff\xd8\xff other")
    error_of(await api.get(f"/uploads/{queue[0]}/image"), 500, "image_damaged")
    for path in (storage / "images").rglob("*.jpg"):
        path.unlink()
    error_of(await api.get(f"/uploads/{queue[0]}/image"), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "GET image"])
@pytest.mark.parametrize("upload_id", [NOBODY, "1", "..%2fetc", "x" * 5000, "%00", "ü"])
async def test_an_upload_that_is_not_there(
    api: httpx.AsyncClient, queue: list[str], method: str, upload_id: str
) -> None:
    verb, _, tail = method.partition(" ")
    path = f"/uploads/{upload_id}" + (f"/{tail}" if tail else "")
    body = {"json": {"label": "nv"}} if verb == "PATCH" else {}
    response = await api.request(verb, path, **body)
    error_of(response, 404, "not_found")


async def test_labels_from_the_review_queue(
    api: httpx.AsyncClient, queue: list[str], database: Database
) -> None:
    changes = [
        ({"label": "mel"}, ("mel", "user", "L1")),
        ({"label_source": "histopathology"}, ("mel", "histopathology", "L1")),
        ({"label": "mel"}, ("mel", "histopathology", "L1")),  # confirmed: still histopathology
        ({"label": "nv"}, ("nv", "user", "L1")),
        ({"label": "bcc", "label_source": "consensus"}, ("bcc", "consensus", "L1")),
        ({"lesion_id": None}, ("bcc", "consensus", None)),
        ({"lesion_id": "L7"}, ("bcc", "consensus", "L7")),
        ({"lesion_id": " L7 "}, ("bcc", "consensus", "L7")),  # as the upload form has it
        ({"label": None}, (None, None, "L7")),
    ]
    for change, expected in changes:
        response = await api.patch(f"/uploads/{queue[-1]}", json=change)
        assert response.status_code == 200, response.text
        found = schemas.Upload.model_validate_json(response.content)
        assert (found.label, found.label_source, found.lesion_id) == expected
        assert found.status == ("needs_label" if found.label is None else "labelled")
    assert (await api.get(f"/uploads/{queue[-1]}")).json() == response.json()
    entries = [e for e in audit.latest(database, 100) if e.event == "upload.changed"]
    assert len(entries) == len(changes) - 2  # two of them changed nothing
    assert {entry.actor for entry in entries} == {"api"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_field"),
        (b"{}", 422, "invalid_field"),
        (b'{"label": "melanoma"}', 422, "unknown_class"),
        (b'{"label": 4}', 422, "invalid_field"),
        (b'{"label": ""}', 422, "unknown_class"),
        (b'{"label_source": "guess"}', 422, "invalid_field"),
        (b'{"lesion_id": ""}', 422, "invalid_field"),
        (b'{"lesion_id": "a\\u0000"}', 422, "invalid_field"),
        (b'{"lesion_id": " \\t"}', 422, "invalid_field"),
        (b'{"lesion_id": "\\ud800"}', 400, "malformed_request"),
        (b'{"\\ud800": 1}', 400, "malformed_request"),
        (b'{"uploader": "me"}', 422, "invalid_field"),
        (b'{"id": "0"}', 422, "invalid_field"),
        (b"[]", 422, "invalid_field"),
        (b"null", 422, "invalid_field"),
        (b"label=mel", 400, "malformed_request"),
        (b"{", 400, "malformed_request"),
        (b"\xff", 400, "malformed_request"),
        (b"[" * 60_000, 400, "malformed_request"),
        (b'{"label": "' + b"x" * 70_000 + b'"}', 413, "body_too_large"),
    ],
    ids=range(20),
)
async def test_a_change_that_cannot_be(
    api: httpx.AsyncClient, queue: list[str], body: bytes, status: int, code: str
) -> None:
    before = (await api.get(f"/uploads/{queue[0]}")).json()
    response = await api.patch(f"/uploads/{queue[0]}", content=body)
    assert len(error_of(response, status, code).message) < 500
    assert (await api.get(f"/uploads/{queue[0]}")).json() == before


async def test_a_source_needs_a_label(api: httpx.AsyncClient, queue: list[str]) -> None:
    response = await api.patch(f"/uploads/{queue[-1]}", json={"label_source": "expert"})
    error_of(response, 422, "invalid_field")


async def test_no_upload_joins_a_lesion_that_models_are_judged_by(
    api: httpx.AsyncClient, queue: list[str]
) -> None:
    lesion = next(name for name, part in FrozenSplit.load().lesions.items() if part == "test")
    response = await api.patch(f"/uploads/{queue[0]}", json={"lesion_id": f" {lesion.lower()}"})
    assert "judged" in error_of(response, 422, "invalid_field").message


async def test_a_removed_upload_is_gone(
    api: httpx.AsyncClient, queue: list[str], storage: Path
) -> None:
    response = await api.delete(f"/uploads/{queue[-2]}")
    assert schemas.Deleted.model_validate_json(response.content).models == []
    error_of(await api.delete(f"/uploads/{queue[-2]}"), 404, "not_found")
    error_of(await api.get(f"/uploads/{queue[-2]}/image"), 404, "not_found")
    assert await _ids(api, order="oldest") == [*queue[:-2], queue[-1]]
    assert len(list((storage / "images").rglob("*.jpg"))) == 6
    again = answer(await api.post("/upload/bulk", **sent(file(NV, "files"))))
    assert again.results[0].verdict == "needs_label"
    assert again.results[0].id not in queue


async def test_a_removal_names_the_models_that_learned_from_it(
    api: httpx.AsyncClient, queue: list[str], database: Database
) -> None:
    runs = Runs(database)
    run = runs.request("head", "manual", "test")
    runs.claim(run.id, "owner", lease_s=60)
    learned = Uploads(database).trainable()
    runs.snapshot(run.id, "owner", learned, champion_version="2", challenger_version="3")
    runs.decide(run.id, "owner", {"passed": True})
    runs.finish(run.id, "owner", "promoted", "It is better.")
    deleted = schemas.Deleted.model_validate_json(
        (await api.delete(f"/uploads/{queue[0]}")).content
    )
    assert deleted.models == [schemas.TrainedModel(version="3", promoted=True)]
    deleted = schemas.Deleted.model_validate_json(
        (await api.delete(f"/uploads/{queue[-1]}")).content
    )
    assert deleted.models == []


async def test_the_contract_names_every_error(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    for path in ("/upload/bulk", "/uploads", "/uploads/{id}", "/uploads/{id}/image"):
        for method, route in paths[path].items():
            assert {"503", "504"} <= route["responses"].keys(), (method, path)
    assert "413" in paths["/uploads/{id}"]["patch"]["responses"]
    assert "413" in paths["/retrain"]["post"]["responses"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "GET image", "GET all"])
async def test_an_archive_that_does_not_answer(
    api: httpx.AsyncClient,
    archive_client: ArchiveClient,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    class Silent:
        async def _wait(self, *_: object) -> None:
            await asyncio.Event().wait()

        page = get = image = change = delete = _wait

    monkeypatch.setattr(archive_client, "_archive", InProcessHandle(Silent()))
    hasty = archive_client._settings.model_copy(update={"deadline_s": 0.05})
    monkeypatch.setattr(archive_client, "_settings", hasty)
    verb, _, tail = method.partition(" ")
    path = {"": f"/uploads/{NOBODY}", "image": f"/uploads/{NOBODY}/image", "all": "/uploads"}[tail]
    body = {"json": {"label": "nv"}} if verb == "PATCH" else {}
    error_of(await api.request(verb, path, **body), 504, "deadline_exceeded")
