"""Labelled uploads in chunks, against answers that are made from what was sent."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from dashboard import labelled_upload as module
from dashboard.image_files import ImageFile
from dashboard.labelled_upload import Labelled, upload_all
from dermserve_client import Client, Retries


class Server:
    """Accepts what has a label."""

    def __init__(self) -> None:
        self.labels: list[list[str | None]] = []
        self.sources: list[bool] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read().decode("latin-1")
        found = re.search(r'name="labels"\r\n\r\n(.*?)\r\n', body)
        assert found is not None
        given = json.loads(found[1])
        self.labels.append([given[str(place)]["label"] for place in range(len(given))])
        self.sources.append('name="label_source"' in body)
        results = [
            {"index": place, "verdict": "accepted" if label else "needs_label"}
            for place, label in enumerate(self.labels[-1])
        ]
        answer = {"results": results, "counts": {}, "retraining": None, "request_id": "r"}
        return httpx.Response(200, json=answer)


def test_chunks_and_what_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_FILES", 2)
    server = Server()
    client = Client(
        "http://server", transport=httpx.MockTransport(server), retries=Retries(total_s=0)
    )
    pictures = [
        Labelled(ImageFile("a.jpg", b"a"), "mel"),
        Labelled(ImageFile("b.jpg", None, "It is empty.")),
        Labelled(ImageFile("c.jpg", b"c")),
        Labelled(ImageFile("d.jpg", b"d"), "nv", "lesion 1"),
        Labelled(ImageFile("e.jpg", b"e")),
    ]
    told = list(upload_all(client, pictures, "expert"))
    assert [each.sent for each in told] == pictures
    assert [each.result.verdict for each in told] == [
        *("accepted", "rejected", "needs_label", "accepted", "needs_label"),
    ]
    assert told[1].result.reason == "It is empty."
    assert server.labels == [["mel"], [None, "nv"], [None]]
    # Whoever sends no label says nothing of how it is known.
    assert server.sources == [True, True, False]


def test_a_chunk_has_a_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 10)
    server = Server()
    client = Client("http://server", transport=httpx.MockTransport(server))
    pictures = [Labelled(ImageFile(str(n), bytes(6)), "nv") for n in range(3)]
    assert len(list(upload_all(client, pictures, "user"))) == 3
    assert server.labels == [["nv"], ["nv"], ["nv"]]
