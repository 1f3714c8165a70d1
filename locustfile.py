"""Locust load: people who send one image at a time, batches, and a monitor that only looks.

    locust --host http://127.0.0.1:8000              # web page on http://localhost:8089
    locust --host http://127.0.0.1:8000 --headless --users 50 --spawn-rate 10 --run-time 1m

Sends the .jpg files of the folder in DERMSERVE_LOAD_IMAGES, or synthetic lesions without it.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

from locust import FastHttpUser, between, constant_pacing, task

from benchmarks.images import image_files

_folder = os.environ.get("DERMSERVE_LOAD_IMAGES")
with tempfile.TemporaryDirectory() as scratch:
    IMAGES = [
        path.read_bytes() for path in image_files(Path(_folder) if _folder else None, Path(scratch))
    ]


class SinglePredictions(FastHttpUser):
    """Someone who looks at each answer before sending the next image."""

    weight = 6
    wait_time = between(1, 3)

    @task
    def predict(self) -> None:
        self.client.post("/predict", files={"file": ("lesion.jpg", random.choice(IMAGES))})


class Batches(FastHttpUser):
    """Someone who sends a series of 5 to 10 images at once."""

    weight = 1
    wait_time = between(3, 6)

    @task
    def predict_batch(self) -> None:
        images = random.choices(IMAGES, k=random.randint(5, 10))
        files = [("files", (f"{i}.jpg", image)) for i, image in enumerate(images)]
        self.client.post("/predict/batch", files=files)


class Monitor(FastHttpUser):
    """A dashboard or a load balancer that asks for the server's health."""

    weight = 1
    wait_time = constant_pacing(2)

    @task
    def health(self) -> None:
        self.client.get("/health")
