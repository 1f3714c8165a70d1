"""A batch job against answers of a server that it did not make itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from dashboard.batch_job import BatchJob
from dashboard.failure_text import MISTAKE
from dashboard.image_files import ImageFile, TooMany
from data.synthetic import synthetic_jpeg
from dermserve_client import Client, Retries
from dermserve_client.label_list import LabelList
from tests.dashboard.answers import prediction

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> Client:
    transport = httpx.MockTransport(handler)
    return Client("http://server", transport=transport, retries=Retries(total_s=0))


def answering(request: httpx.Request) -> httpx.Response:
    """A prediction for each part, and an error for what says so."""
    body = request.read()
    parts = body.split(body.partition(b"\r\n")[0])[1:-1]
    answer = json.loads(prediction("mel").model_dump_json())
    error = {"code": "unsupported_image", "message": "It is no image.", "request_id": "r"}
    results = [{"error": error} if b"broken" in part else {"prediction": answer} for part in parts]
    return httpx.Response(200, json={"results": results})


def files(count: int, broken: int = -1, unreadable: int = -1) -> Iterator[ImageFile]:
    picture = synthetic_jpeg("nv", seed=1, width=40, height=30)
    for number in range(count):
        if number == unreadable:
            yield ImageFile(f"{number}.jpg", None, "It is empty.")
        else:
            yield ImageFile(f"{number}.jpg", b"broken" if number == broken else picture)


def test_each_file_has_its_row() -> None:
    labels = LabelList({"0.jpg": "mel"})
    job = BatchJob(client(answering), files(7, 3, 5), 7, labels, chunk_images=2)
    job.start()
    assert job.wait(30)
    rows = job.rows()
    assert [row.file for row in rows] == [f"{number}.jpg" for number in range(7)]
    assert [row.error for row in rows if row.error] == [
        "It is no image. Choose another file.",
        "It is empty.",
    ]
    assert rows[0].label == "mel"
    assert (rows[0].picture or "").startswith("data:image/jpeg;base64,")
    assert rows[3].picture is None
    assert (job.failure, job.stopped) == (None, False)


def test_it_is_sent_in_chunks() -> None:
    sizes = []

    def counting(request: httpx.Request) -> httpx.Response:
        sizes.append(request.read().count(b"filename="))
        return answering(request)

    job = BatchJob(client(counting), files(5), 5, chunk_images=2)
    job.start()
    assert job.wait(30)
    assert sizes == [2, 2, 1]


def test_it_can_be_stopped() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        asked.set()
        go_on.wait(30)
        return answering(request)

    job = BatchJob(client(slow), files(20), 20, chunk_images=4)
    job.start()
    assert asked.wait(30)
    assert job.running
    job.stop()
    go_on.set()
    assert job.wait(30)
    assert job.stopped
    assert len(job.rows()) == 4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(500), "server answered 500"),
        (httpx.Response(200, text="<html>"), "does not understand"),
    ],
)
def test_what_was_done_before_a_failure_stays(answer: httpx.Response, said: str) -> None:
    turns = iter([answering, lambda request: answer])
    job = BatchJob(client(lambda request: next(turns)(request)), files(8), 8, chunk_images=4)
    job.start()
    assert job.wait(30)
    assert len(job.rows()) == 4
    assert said in (job.failure or "")


def test_a_server_that_is_away() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    job = BatchJob(client(away), files(2), 2)
    job.start()
    assert job.wait(30)
    assert "does not answer" in (job.failure or "")


def test_a_mistake_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    def stumbling() -> Iterator[ImageFile]:
        raise ValueError("x = 7 in /srv/secret")
        yield ImageFile("", b"")

    job = BatchJob(client(answering), stumbling(), 1)
    job.start()
    assert job.wait(30)
    assert job.failure == MISTAKE
    assert "/srv/secret" in caplog.text


def test_files_that_are_too_many(caplog: pytest.LogCaptureFixture) -> None:
    def refusing() -> Iterator[ImageFile]:
        raise TooMany("Send fewer.")
        yield ImageFile("", b"")

    job = BatchJob(client(answering), refusing(), 1)
    job.start()
    assert job.wait(30)
    assert job.failure == "Send fewer."
    assert caplog.records == []
