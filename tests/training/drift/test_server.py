"""The watch on a running server: traffic that changes moves what the server says of it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import httpx
import pytest
from PIL import Image, ImageOps
from prometheus_client.parser import text_string_to_metric_families

from cluster.server import LocalServer
from data.synthetic import synthetic_lesion
from models.classes import CLASSES
from serve_app.metrics_schemas import DataSummary, Drift

pytestmark = pytest.mark.server

PATIENCE_S = 120.0
WINDOW = 100
"""Of the test server's configuration."""

Change = Callable[[Image.Image], Image.Image]


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def _jpeg(number: int, change: Change) -> bytes:
    lesion = synthetic_lesion(CLASSES[number % len(CLASSES)], 9000 + number, 300, 225)
    file = io.BytesIO()
    change(Image.fromarray(lesion)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _after_traffic(client: httpx.Client, change: Change) -> Drift:
    """What the server says once its window holds nothing but images that were so changed."""
    began = datetime.now(timezone.utc)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        # Others may predict at the same time, so that more than a window's worth is needed.
        files = [("files", (f"{n}.jpg", _jpeg(n, change))) for n in range(WINDOW // 2)]
        answer = client.post("/predict/batch", files=files)
        assert answer.status_code == 200, answer.text
        drift = DataSummary.model_validate(client.get("/data/summary").json()).drift
        if drift is not None and drift.status == "assessed" and drift.samples == WINDOW:
            assert drift.since is not None
            assert drift.assessed is not None
            since, assessed = map(datetime.fromisoformat, (drift.since, drift.assessed))
            if began < since < assessed:
                return drift
        assert time.monotonic() < deadline, drift
        time.sleep(0.2)


def _exported(client: httpx.Client) -> dict[str, float]:
    """The gauges of the watch, without what is not known."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {
        sample.name.removeprefix("ray_dermserve_"): sample.value
        for sample in samples
        if sample.name.startswith(("ray_dermserve_drift_", "ray_dermserve_estimated_"))
        and sample.value == sample.value
    }


def test_traffic_that_changes_moves_it(client: httpx.Client) -> None:
    before = _after_traffic(client, lambda image: image)
    after = _after_traffic(client, ImageOps.invert)
    assert before.version == after.version is not None
    assert before.embedding is not None
    assert after.embedding is not None
    assert after.embedding.mmd > before.embedding.mmd
    assert after.embedding.p_value < 0.01
    for drift in (before, after):
        assert drift.class_mix is not None
        for shares in (drift.class_mix.predicted, drift.class_mix.estimated):
            assert sum(shares.values()) == pytest.approx(1)

    deadline = time.monotonic() + PATIENCE_S
    while True:
        said = client.get("/data/summary").json()["drift"]
        exported = _exported(client)
        if (
            exported.get("drift_embedding_mmd") == said["embedding"]["mmd"]
            and exported.get("drift_samples") == said["samples"]
        ):
            break
        assert time.monotonic() < deadline, (exported, said)
        time.sleep(0.5)
    assert exported["drift_embedding_p_value"] == said["embedding"]["p_value"]
    assert exported["drift_class_mix_distance"] == said["class_mix"]["distance"]
    assert exported["drift_class_mix_p_value"] == said["class_mix"]["p_value"]
    if said["performance"] is not None:
        accuracy = said["performance"]["accuracy"]["value"]
        assert exported["estimated_accuracy"] == accuracy
