"""Uploads: labels that cannot shift, and names that stay here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dermserve_client.conftest import Connect

ANSWER = {
    "results": [
        {"index": 0, "filename": "0", "verdict": "accepted", "id": "7"},
        {"index": 1, "filename": "1", "verdict": "rejected", "reason": "No image."},
    ],
    "counts": {"accepted": 1, "rejected": 1},
    "retraining": None,
    "request_id": "r1",
}


async def test_labels_go_by_name_and_the_names_of_files_stay_here(
    connect: Connect, tmp_path: Path
) -> None:
    path = tmp_path / "meier-1962.jpg"
    path.write_bytes(b"p0")
    requests = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=ANSWER)

    answer = await connect(handler)(
        "upload", [path, b"p1"], ["nv", None], label_source="expert", lesion_ids=["L1", None]
    )
    assert [(r.index, r.name, r.verdict) for r in answer.results] == [
        (0, str(path), "accepted"),
        (1, "", "rejected"),
    ]
    (request,) = requests
    assert b"meier" not in request.content
    found = re.search(rb'name="labels"\r\n\r\n(.*?)\r\n', request.content)
    assert found
    assert json.loads(found[1]) == {
        "0": {"label": "nv", "lesion_id": "L1"},
        "1": {"label": None, "lesion_id": None},
    }
    assert b'name="label_source"\r\n\r\nexpert' in request.content
    assert b"uploader" not in request.content
    names = re.findall(rb'name="files"; filename="(\d+)"', request.content)
    assert names == [b"0", b"1"]


@pytest.mark.parametrize(
    "given",
    [
        {"labels": ["nv"]},
        {"labels": ["nv", "nv", "nv"]},
        {"labels": []},
        {"labels": "nv"},
        {"lesion_ids": ["L1"]},
    ],
)
async def test_labels_that_would_shift_are_not_sent(connect: Connect, given: Any) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise AssertionError("It was sent.")

    with pytest.raises(ValueError, match=r"images|for each image"):
        await connect(nobody)("upload", [b"p0", b"p1"], **given)


async def test_a_change_says_only_what_is_to_change(connect: Connect) -> None:
    bodies = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(404)

    for change in ({"label": "mel"}, {"lesion_id": None}, {}):
        with pytest.raises(Exception, match="404"):
            await connect(handler)("change_upload", "7", change)
    assert bodies == [{"label": "mel"}, {"lesion_id": None}, {}]
