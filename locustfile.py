"""Locust load: people who send one image at a time, batches, and a monitor that only looks.

    locust --host http://127.0.0.1:8000 --web-host 127.0.0.1   # page on http://127.0.0.1:8089
    locust --host http://127.0.0.1:8000 --headless --users 50 --spawn-rate 10 --run-time 1m \
        --html var/load.html

Sends the .jpg files of the folder in DERMSERVE_LOAD_IMAGES, or synthetic lesions without it, with
the API key in DERMSERVE_API_KEY (of the role `predict`) if the server asks for one.
`make load` goes through several numbers of users; LOAD_TESTING.md says how to read what comes out.
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from locust import FastHttpUser, between, constant_pacing, task
from locust.contrib.fasthttp import ResponseContextManager

from benchmarks.images import image_files
from benchmarks.locust_load.step import REFUSED
from models.classes import CLASSES

_key = os.environ.get("DERMSERVE_API_KEY")
_folder = os.environ.get("DERMSERVE_LOAD_IMAGES")
with tempfile.TemporaryDirectory() as scratch:
    IMAGES = [
        path.read_bytes() for path in image_files(Path(_folder) if _folder else None, Path(scratch))
    ]

Document = dict[str, Any]
Flaw = Callable[[Document], str | None]
"""What is wrong with a document that came with status 200; None if nothing."""


class Client(FastHttpUser):
    """A user who takes nothing for an answer but the right one."""

    abstract = True
    default_headers = {"authorization": f"Bearer {_key}"} if _key else None

    def ask(
        self, method: str, path: str, flaw: Flaw, *, files: Any = None, images: int = 0
    ) -> None:
        """Send a request, and count its answer as a failure if it is not what was asked for.

        A 503 with `Retry-After` is a failure too, but under a name of its own: a full server
        that says so at once is not a broken one, and what it answers in a millisecond would
        flatter the response times of the others. Who is told to wait, waits.

        Args:
            method: of HTTP.
            path: of the server.
            flaw: what is wrong with the answer's document.
            files: of a multipart form.
            images: how many of them the server should classify.
        """
        with self.client.request(
            method, path, files=files, catch_response=True, context={"images": images}
        ) as response:
            wait_s = _retry_after_s(response)
            if wait_s is not None:
                response.request_meta["name"] += REFUSED
            problem = _problem(response, flaw)
            if problem is None:
                response.success()
            else:
                response.failure(problem)
        if wait_s is not None:
            time.sleep(wait_s)  # gevent's, by Locust's patch: the others go on


def _retry_after_s(response: ResponseContextManager) -> int | None:
    """Seconds after which a full server wants to be asked again; None for every other answer."""
    headers = response.headers
    value = "" if headers is None else str(headers.get("retry-after", ""))
    return int(value) if response.status_code == 503 and value.isdigit() else None


def _problem(response: ResponseContextManager, flaw: Flaw) -> str | None:
    if not response.status_code:
        return f"no answer: {type(response.request_meta['exception']).__name__}"
    try:
        document = orjson.loads(response.content or b"")
        if response.status_code != 200:
            return f"status {response.status_code}: {document['error']['code']}"
        return flaw(document)
    except (ValueError, LookupError, TypeError):
        return f"status {response.status_code} with a body that is none of the server's"


def _prediction_flaw(document: Document) -> str | None:
    return None if document["predicted_class"] in CLASSES else "no class is predicted"


def _batch_flaw(document: Document, sent: int) -> str | None:
    results = document["results"]
    if len(results) != sent:
        return "another number of results than of images"
    errors = {result["error"]["code"] for result in results if "error" in result}
    if errors:
        return f"images without an answer: {', '.join(sorted(errors))}"
    flaws = (_prediction_flaw(result["prediction"]) for result in results)
    return next((flaw for flaw in flaws if flaw), None)


def _health_flaw(document: Document) -> str | None:
    return None if document["status"] == "ok" else f"health is {document['status']}"


def _models_flaw(document: Document) -> str | None:
    versions = [model["version"] for model in document["models"]]
    return None if document["champion"] in versions else "the champion is none of the versions"


def _status_flaw(document: Document) -> str | None:
    return None if document["waiting"]["threshold"] > 0 else "no upload would start a retraining"


class SinglePredictions(Client):
    """Someone who looks at each answer before sending the next image."""

    weight = 6
    wait_time = between(1, 3)

    @task
    def predict(self) -> None:
        image = random.choice(IMAGES)
        files = {"file": ("lesion.jpg", image)}
        self.ask("POST", "/predict", _prediction_flaw, files=files, images=1)


class Batches(Client):
    """Someone who sends a series of 5 to 10 images at once."""

    weight = 1
    wait_time = between(3, 6)

    @task
    def predict_batch(self) -> None:
        images = random.choices(IMAGES, k=random.randint(5, 10))
        sent = len(images)
        files = [("files", (f"{i}.jpg", image)) for i, image in enumerate(images)]
        self.ask("POST", "/predict/batch", lambda d: _batch_flaw(d, sent), files=files, images=sent)


class Monitor(Client):
    """A load balancer and a dashboard: one look every two seconds, at one thing after another."""

    weight = 1
    wait_time = constant_pacing(2)

    def on_start(self) -> None:
        looks: list[tuple[str, Flaw]] = [
            ("/health", _health_flaw),
            ("/models", _models_flaw),
            ("/health/ready", _health_flaw),
            ("/retrain/status", _status_flaw),
        ]
        self._looks = itertools.cycle(looks)

    @task
    def look(self) -> None:
        self.ask("GET", *next(self._looks))
