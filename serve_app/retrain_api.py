"""The routes of retraining."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from serve_app import retrain_schemas as schemas
from serve_app.access.caller import actor_of
from serve_app.answers import json_response
from serve_app.body import read_json
from serve_app.openapi import content, errors, json_body
from serve_app.status_feed import StatusFeed
from serve_app.trainer_client import STATUS_TIMEOUT_S, TrainerClient


def retrain_routes(trainer: TrainerClient, stream_s: float) -> APIRouter:
    """The routes over the trainer.

    Args:
        trainer: retrains.
        stream_s: longest stream of events.
    """
    router = APIRouter(prefix="/retrain", tags=["Retraining"])

    async def ask_status() -> dict[str, Any]:
        status: dict[str, Any] = await trainer.ask("status", timeout_s=STATUS_TIMEOUT_S)
        return status

    feed = StatusFeed(ask_status, stream_s)

    @router.post(
        "",
        status_code=202,
        summary="Retrain now",
        response_model=schemas.Run,
        responses=errors(400, 409, 413, 422, 503),
        openapi_extra=json_body(schemas.RetrainRequest, required=False),
    )
    async def start(request: Request) -> Response:
        """Ask for a retraining on all labelled uploads; refused while one is under way."""
        wish = await read_json(request, schemas.RetrainRequest)
        return json_response(await trainer.ask("start", wish.mode, actor_of(request)), 202)

    @router.delete(
        "",
        status_code=202,
        summary="Stop the retraining",
        response_model=schemas.Run,
        responses=errors(409, 503),
    )
    async def cancel(request: Request) -> Response:
        """Ask the retraining that is under way to stop; it does so after the step it is in."""
        return json_response(await trainer.ask("cancel", actor_of(request)), 202)

    @router.get(
        "/status",
        summary="What the trainer is doing",
        response_model=schemas.RetrainStatus,
        responses=errors(503),
    )
    async def status() -> Response:
        """The retraining under way, the last one, what is missing until the next, the rollout."""
        return json_response(await ask_status())

    @router.get(
        "/events",
        summary="What the trainer is doing, as it changes",
        response_class=StreamingResponse,
        responses=errors(503) | content("Server-sent events", "text/event-stream"),
    )
    async def events() -> Response:
        """The event `status`, with what `/retrain/status` says, at once and after each change.

        While the trainer does not answer, the event is `unavailable`, with the error. A stream
        ends after some seconds, and browsers connect again by themselves.
        """
        feed.check_place()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(feed.listen(), headers=headers, media_type="text/event-stream")

    @router.get(
        "/history",
        summary="Retrainings so far",
        response_model=schemas.RunPage,
        responses=errors(422, 503),
    )
    async def history(
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """Retrainings, the newest first."""
        return json_response(await trainer.ask("history", limit, offset))

    return router
