"""The routes of numbers: what they say, and what they say when a part is away."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import ray
from prometheus_client.parser import text_string_to_metric_families
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ReplicaState,
    ServeStatus,
)

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from models.errors import TrainerUnavailable
from models.package import ModelPackage
from serve_app import metrics_schemas as schemas
from serve_app.exposition import merge
from serve_app.metrics_summary import our_samples, replicas_of, summarise
from tests.serve_app.trainer import InProcessTrainer

PAGE = """\
# HELP ray_dermserve_phase_seconds Seconds.
# TYPE ray_dermserve_phase_seconds histogram
ray_dermserve_phase_seconds_bucket{le="0.1",phase="total",stage="ingress",node="a"} 3
ray_dermserve_phase_seconds_bucket{le="+Inf",phase="total",stage="ingress",node="a"} 5
ray_dermserve_phase_seconds_bucket{le="0.1",phase="total",stage="ingress",node="b"} 1
ray_dermserve_phase_seconds_bucket{le="+Inf",phase="total",stage="ingress",node="b"} 1
ray_dermserve_phase_seconds_bucket{le="+Inf",phase="forward",stage="classifier",node="b"} 9
# HELP ray_dermserve_images_total Images.
# TYPE ray_dermserve_images_total counter
ray_dermserve_images_total{outcome="taken",stage="ingress",replica="x"} 4
ray_dermserve_images_total{outcome="taken",stage="ingress",replica="y"} 2
ray_dermserve_images_total{outcome="rejected",stage="ingress",replica="y"} 1
# HELP ray_dermserve_batches_total Batches.
# TYPE ray_dermserve_batches_total counter
ray_dermserve_batches_total{stage="classifier"} 7
# HELP ray_dermserve_waiting_images Now.
# TYPE ray_dermserve_waiting_images gauge
ray_dermserve_waiting_images{stage="ingress",replica="x"} 2
ray_dermserve_waiting_images{stage="ingress",replica="y"} 3
"""


def test_a_summary_adds_replicas_up() -> None:
    summary = schemas.MetricsSummary.model_validate(summarise(our_samples(merge([PAGE])), {}))
    assert summary.requests == 6
    assert [(bucket.le, bucket.count) for bucket in summary.latency] == [(0.1, 4), (None, 6)]
    ingress = summary.stages["ingress"]
    assert (ingress.images, ingress.waiting) == ({"taken": 6, "rejected": 1}, 5)
    assert summary.stages["classifier"].batches == 7


def test_a_server_that_has_counted_nothing() -> None:
    summary = schemas.MetricsSummary.model_validate(summarise([], {}))
    assert (summary.requests, summary.latency, summary.stages) == (0, [], {})


def test_replicas_by_deployment() -> None:
    deployment = DeploymentStatusOverview(
        status=DeploymentStatus.HEALTHY,
        status_trigger=DeploymentStatusTrigger.CONFIG_UPDATE_COMPLETED,
        replica_states={ReplicaState.RUNNING: 2, ReplicaState.STARTING: 1},
        message="",
    )
    application = ApplicationStatusOverview(
        status=ApplicationStatus.RUNNING,
        message="",
        last_deployed_time_s=0,
        deployments={"classifier": deployment},
    )
    status = ServeStatus(applications={"dermserve": application})
    read = schemas.Replicas.model_validate(replicas_of(status)["classifier"])
    assert (read.application, read.status) == ("dermserve", "HEALTHY")
    assert read.states == {"RUNNING": 2, "STARTING": 1}


async def test_data_of_uploads_and_model(api: httpx.AsyncClient, champion: ModelPackage) -> None:
    files = [
        ("files", ("a.jpg", synthetic_jpeg("mel", seed=81_001, width=300, height=200))),
        ("files", ("b.jpg", synthetic_jpeg("nv", seed=81_002, width=300, height=200))),
    ]
    labels = {"labels": ["mel", ""], "label_source": "expert"}
    assert (await api.post("/upload/bulk", files=files, data=labels)).status_code == 200
    summary = schemas.DataSummary.model_validate_json((await api.get("/data/summary")).content)
    assert summary.uploads is not None
    assert summary.uploads.labelled["mel"] == summary.uploads.new["mel"] == 1
    assert sum(summary.uploads.labelled.values()) == 1
    assert summary.uploads.needs_label == 1
    assert summary.uploads.by_source == {"expert": 1}
    assert [size.model_dump() for size in summary.uploads.sizes] == [
        {"width": 300, "height": 200, "images": 2}
    ]
    assert summary.model is not None
    assert summary.model.version == champion.manifest.version
    assert sum(summary.model.splits["test"].values()) == 2009
    assert summary.model.by_class["mel"]["images"] == 228
    # Nobody counts where no Ray runs; the server of other tests may.
    assert (summary.latency is not None) == ray.is_initialized()


async def test_a_part_that_is_away_is_null(
    api: httpx.AsyncClient, trainer: InProcessTrainer
) -> None:
    trainer.error = TrainerUnavailable("The trainer does not answer.")
    summary = schemas.DataSummary.model_validate_json((await api.get("/data/summary")).content)
    assert summary.model is None
    assert summary.uploads is not None


async def test_an_evaluation_for_programs(api: httpx.AsyncClient, champion: ModelPackage) -> None:
    response = await api.get("/models/champion/evaluation")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == json.loads(champion.file("report.json").read_text("utf-8"))


def test_a_server_counts_what_it_answers(server: LocalServer, jpeg: bytes) -> None:
    def summary() -> dict[str, Any]:
        answer = httpx.get(f"{server.url}/metrics", headers={"accept": "application/json"})
        found: dict[str, Any] = answer.json()
        schemas.MetricsSummary.model_validate(found)
        return found

    before = summary()["requests"]
    for _ in range(3):
        assert httpx.post(f"{server.url}/predict", content=jpeg).status_code == 200
    end = time.monotonic() + 60
    while (found := summary())["requests"] < before + 3 and time.monotonic() < end:
        time.sleep(0.5)
    assert found["requests"] >= before + 3
    assert found["replicas"]["classifier"]["states"]["RUNNING"] >= 1
    text = httpx.get(f"{server.url}/metrics").text
    assert "ray_dermserve_images" in {
        family.name for family in text_string_to_metric_families(text)
    }
