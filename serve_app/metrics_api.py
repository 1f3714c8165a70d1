"""The routes of numbers: metrics, and the data that the model and its users come with."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from ray import serve

from models.errors import DermServeError
from serve_app import metrics_schemas as schemas
from serve_app.answers import json_response
from serve_app.archive_client import ArchiveClient
from serve_app.exposition import Exposition, exposition_text
from serve_app.metrics_summary import latency_buckets, our_samples, replicas_of, summarise
from serve_app.openapi import content, errors
from serve_app.trainer_client import STATUS_TIMEOUT_S, TrainerClient

logger = logging.getLogger("ray.serve")

CONTROLLER_TIMEOUT_S = 3.0
"""Longest wait for Serve's controller to say what runs."""


def metrics_routes(
    archive: ArchiveClient, trainer: TrainerClient, exposition: Exposition | None = None
) -> APIRouter:
    """The routes over what counts and what knows the data.

    Args:
        archive: counts uploads.
        trainer: knows the model.
        exposition: what the nodes export.
    """
    router = APIRouter(tags=["Metrics"])
    exported = exposition or Exposition()

    @router.get(
        "/metrics",
        summary="Metrics of all nodes",
        response_model=schemas.MetricsSummary,
        responses=errors(503) | content("For Prometheus", "text/plain"),
    )
    async def metrics(request: Request) -> Response:
        """Prometheus' text format; a summary in JSON, if `application/json` is asked for."""
        families = await exported.families()
        if "application/json" not in request.headers.get("accept", ""):
            return Response(exposition_text(families), media_type=CONTENT_TYPE_PLAIN_0_0_4)
        return json_response(
            summarise(await asyncio.to_thread(our_samples, families), await _replicas())
        )

    @router.get(
        "/data/summary",
        summary="Classes, sizes, latencies and drift, for plots",
        response_model=schemas.DataSummary,
    )
    async def data_summary() -> Response:
        """Uploads by class and size, what the champion learned from, drift, and latencies."""
        uploads, model, latency, drift = await asyncio.gather(
            _or_none(archive.ask("summary")),
            _or_none(_model(trainer)),
            _or_none(_latency()),
            _or_none(trainer.ask("drift", timeout_s=STATUS_TIMEOUT_S)),
        )
        return json_response(
            {"uploads": uploads, "model": model, "latency": latency, "drift": drift}
        )

    @router.get(
        "/models/{version}/evaluation",
        summary="The evaluation of a version, for programs",
        responses=errors(404, 409, 503),
    )
    async def evaluation(version: str) -> Response:
        """What `/models/{version}/report` shows, as JSON: `report.json` of its package."""
        report: bytes = await trainer.ask("evaluation_of", version)
        return Response(report, media_type="application/json")

    async def _latency() -> list[dict[str, Any]]:
        return latency_buckets(await asyncio.to_thread(our_samples, await exported.families()))

    return router


async def _model(trainer: TrainerClient) -> dict[str, Any]:
    known: dict[str, Any] = await trainer.ask("model", "champion")
    manifest = known["manifest"]
    split = manifest["split"]
    return {
        "version": known["version"],
        "splits": {
            name: split[name]
            for name in ("train", "validation", "test", "uploads")
            if split.get(name)
        },
        "by_class": manifest["metrics"].get("test", {}).get("by_class", {}),
    }


async def _replicas() -> dict[str, Any]:
    """Nothing, if Serve's controller is away: counts are worth showing all the same."""
    try:
        status = await asyncio.wait_for(asyncio.to_thread(serve.status), CONTROLLER_TIMEOUT_S)
    except Exception as error:
        logger.warning("Serve did not say which replicas run: %r", error)
        return {}
    return replicas_of(status)


async def _or_none(answer: Any) -> Any:
    """A part of the server that is away leaves its part of the answer empty."""
    try:
        return await answer
    except DermServeError as error:
        logger.warning("A part of the summary is missing: %s", error.message)
        return None
