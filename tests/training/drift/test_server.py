"""The watch on a running server: traffic that changes moves what the server says of it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image, ImageOps
from prometheus_client.parser import text_string_to_metric_families

from cluster.server import LocalServer
from data.synthetic import synthetic_lesion
from models.classes import CLASSES
from serve_app.metrics_schemas import DataSummary, Drift, EmbeddingDrift

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


def _send_until(
    client: httpx.Client, change: Change, condition: Callable[[EmbeddingDrift], bool]
) -> Drift:
    """Send images that are so changed until the assessment of a full window is as expected."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        files = [("files", (f"{n}.jpg", _jpeg(n, change))) for n in range(WINDOW // 2)]
        answer = client.post("/predict/batch", files=files)
        assert answer.status_code == 200, answer.text
        drift = DataSummary.model_validate(client.get("/data/summary").json()).drift
        found = None if drift is None or drift.samples < WINDOW else drift.embedding
        if drift is not None and found is not None and condition(found):
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
    before = _send_until(client, lambda image: image, lambda embedding: True)
    assert before.embedding is not None
    least = max(before.embedding.mmd, 0.0)
    after = _send_until(
        client,
        ImageOps.invert,
        lambda embedding: embedding.mmd > least and embedding.p_value < 0.01,
    )
    assert after.embedding is not None
    highest = after.embedding.mmd
    back = _send_until(client, lambda image: image, lambda embedding: embedding.mmd < highest)
    assert before.version == after.version == back.version is not None
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
