"""Bodies of /predict/batch: a result or an error for each file, and one bad file harms no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from serve_app import schemas
from tests.models.images import encode
from tests.serve_app.forms import END, FORM, chunks, error_of, file, form

IMAGES = {code: synthetic_jpeg(code, seed=1, width=120, height=90) for code in CLASSES[:4]}
NV, LIMIT = IMAGES["bcc"], 200_000


def _files(*contents: bytes) -> dict[str, Any]:
    parts = [file(data, "files", f"{index}.jpg") for index, data in enumerate(contents)]
    return {"content": form(*parts), "headers": FORM}


def _batch(response: httpx.Response) -> schemas.BatchPrediction:
    assert response.status_code == 200, response.text
    batch = schemas.BatchPrediction.model_validate_json(response.content)
    assert [entry.index for entry in batch.results] == list(range(len(batch.results)))
    for entry in batch.results:
        assert (entry.prediction is None) != (entry.error is None)
    assert batch.failed == sum(entry.error is not None for entry in batch.results)
    assert batch.succeeded + batch.failed == len(batch.results)
    return batch


def _codes(batch: schemas.BatchPrediction) -> list[str | None]:
    return [entry.error.code if entry.error else None for entry in batch.results]


async def test_every_file_gets_its_own_answer_in_order(api: httpx.AsyncClient) -> None:
    alone = [
        schemas.Prediction.model_validate_json((await api.post("/predict", content=image)).content)
        for image in IMAGES.values()
    ]
    batch = _batch(await api.post("/predict/batch", **_files(*IMAGES.values())))
    assert len({tuple(answer.probabilities.values()) for answer in alone}) == len(alone)
    for entry, answer in zip(batch.results, alone, strict=True):
        assert entry.prediction is not None
        assert entry.prediction.probabilities == pytest.approx(answer.probabilities, abs=1e-6)


async def test_one_file_is_a_batch_too(api: httpx.AsyncClient) -> None:
    assert _batch(await api.post("/predict/batch", **_files(NV))).succeeded == 1


async def test_names_are_echoed_and_never_used(api: httpx.AsyncClient) -> None:
    names = ["../../etc/passwd", "läsion.jpg", "", "a.jpg"]
    parts = [file(NV, "files", name) for name in names]
    response = await api.post("/predict/batch", content=form(*parts), headers=FORM)
    assert [entry.filename for entry in _batch(response).results] == names


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"", "empty_image"),
        (NV[: len(NV) // 2], "truncated_image"),
        (b"lesion", "unsupported_image"),
        (encode(Image.new("L", (1, 1)), "PNG"), "image_too_small"),
        (NV + bytes(LIMIT), "body_too_large"),
    ],
    ids=["empty", "half", "text", "one pixel", "too many bytes"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_bad_file_fails_alone(
    api: httpx.AsyncClient, bad: bytes, code: str, place: int
) -> None:
    contents = [NV, NV]
    contents.insert(place, bad)
    batch = _batch(await api.post("/predict/batch", **_files(*contents)))
    expected: list[str | None] = [None, None]
    expected.insert(place, code)
    assert _codes(batch) == expected


async def test_all_files_may_be_bad(api: httpx.AsyncClient) -> None:
    batch = _batch(await api.post("/predict/batch", **_files(b"", b"text", NV[:300])))
    assert _codes(batch) == ["empty_image", "unsupported_image", "truncated_image"]
    assert (batch.succeeded, batch.failed) == (0, 3)


async def test_every_answer_carries_the_request_id(api: httpx.AsyncClient) -> None:
    sent = _files(NV, b"text")
    sent["headers"] = {**FORM, "x-request-id": "mine"}
    batch = _batch(await api.post("/predict/batch", **sent))
    good, bad = batch.results
    assert good.prediction is not None
    assert bad.error is not None
    assert batch.request_id == good.prediction.request_id == bad.error.request_id == "mine"


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing": ({}, 400, "malformed_request"),
    "a raw image": ({"content": NV}, 400, "malformed_request"),
    "json": ({"json": {"files": []}}, 400, "malformed_request"),
    "the field of /predict": ({"content": form(file(NV)), "headers": FORM}, 400, "missing_file"),
    "empty form": ({"content": END, "headers": FORM}, 400, "missing_file"),
    "text for files": (
        {"content": form(('name="files"', NV)), "headers": FORM},
        400,
        "missing_file",
    ),
    "five files": (_files(*[NV] * 5), 413, "too_many_files"),
    "too many bytes": (_files(*[bytes(150_000)] * 4), 413, "body_too_large"),
    "no boundary": (
        {"content": form(file(NV, "files")), "headers": {"content-type": "multipart/form-data"}},
        400,
        "malformed_request",
    ),
}


@pytest.mark.parametrize(("sent", "status", "code"), BAD.values(), ids=BAD)
async def test_a_request_that_cannot_be_read_gets_one_error(
    api: httpx.AsyncClient, sent: dict[str, Any], status: int, code: str
) -> None:
    error_of(await api.post("/predict/batch", **sent), status, code)


async def test_the_limits_are_told(api: httpx.AsyncClient) -> None:
    response = await api.post("/predict/batch", **_files(*[NV] * 5))
    assert "may carry 4 files" in error_of(response, 413, "too_many_files").message
    response = await api.post("/predict/batch", content=NV)
    assert "files=@a.jpg" in error_of(response, 400, "malformed_request").message


async def test_an_unannounced_body_is_refused_at_the_limit(api: httpx.AsyncClient) -> None:
    read = []

    def endless() -> Iterator[bytes]:
        yield form(file(b"", "files"))[: -len(END) - 2]
        for _ in range(10_000):
            read.append(1)
            yield bytes(10_000)

    response = await api.post("/predict/batch", content=chunks(endless()), headers=FORM)
    error_of(response, 413, "body_too_large")
    assert len(read) <= 52
