"""What Prometheus is told of uploads: every file once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from serve_app import archive_client
from serve_app.upload import Verdict
from serve_app.upload_metrics import UploadMetrics
from tests.serve_app.told import record_told, value_of

UPLOADS = "dermserve_uploads"


def test_every_file_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = record_told(monkeypatch, UPLOADS)
    metrics = UploadMetrics()
    assert len(told) == 6  # they begin at zero
    metrics.count([], 0)
    assert set(told.values()) == {0}
    verdicts = [Verdict("accepted"), Verdict("rejected"), Verdict("accepted")]
    metrics.count(verdicts, 5)
    counted = {dict(tags)["verdict"]: value for (_, tags), value in told.items() if value}
    assert counted == {"accepted": 2, "rejected": 1, "failed": 2}
    metrics.count(verdicts, 3)
    assert sum(told.values()) == 8


async def test_files_that_never_reach_the_archive_are_counted_too(
    api: httpx.AsyncClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = record_told(monkeypatch, UPLOADS)
    files = [("files", ("a.jpg", content)) for content in (jpeg, jpeg, b"")]
    labels = ["nv", "no class", "mel"]
    response = await api.post("/upload/bulk", files=files, data={"labels": labels})
    counts = {name: count for name, count in response.json()["counts"].items() if count}
    assert counts == {"accepted": 1, "rejected": 2}
    for verdict, count in counts.items():
        assert value_of(told, UPLOADS, verdict=verdict) == count


async def test_a_client_that_leaves_is_no_failure(
    api: httpx.AsyncClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = record_told(monkeypatch, UPLOADS)
    asked = asyncio.Event()

    async def never(*args: object, **terms: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(archive_client, "call", never)
    files = [("files", ("a.jpg", jpeg))]
    upload = asyncio.create_task(api.post("/upload/bulk", files=files, data={"labels": "nv"}))
    await asyncio.wait_for(asked.wait(), 30)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert value_of(told, UPLOADS, verdict="failed") in (None, 0)
