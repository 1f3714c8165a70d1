"""The routes of the model registry."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from models.errors import NotFound, RolloutFailed
from serve_app import model_schemas as schemas
from serve_app.access.caller import actor_of
from serve_app.answers import json_response
from serve_app.openapi import Responses, content, errors
from serve_app.retrain_schemas import Rollout
from serve_app.trainer_client import TrainerClient

Version = Annotated[str, Path(description="name of a version, or `champion`")]

_OVER = frozenset({"reverted", "failed"})
_SERVED = frozenset({"observing", "completed"})
_GOING_ON: Responses = {202: {"model": Rollout, "description": "Some replicas do not serve it yet"}}
_REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def model_routes(trainer: TrainerClient) -> APIRouter:
    """The routes over the trainer, which rolls versions out."""
    router = APIRouter(prefix="/models", tags=["Models"])

    @router.get("", summary="All versions", response_model=schemas.ModelList, responses=errors(503))
    async def models() -> Response:
        """Every version, which of them serves, what the gate said, and the newest rollouts."""
        return json_response(await trainer.ask("models"))

    @router.get(
        "/{version}",
        summary="The card of a version",
        response_model=schemas.ModelCard,
        responses=errors(404, 409, 503) | content("The card", "text/markdown"),
    )
    async def model(version: Version, request: Request) -> Response:
        """What is known of a version; only its model card, if `text/markdown` is asked for."""
        known: dict[str, Any] = await trainer.ask("model", version)
        if "text/markdown" not in request.headers.get("accept", ""):
            return json_response(known)
        if known["card"] is None:
            raise NotFound(f"Version {known['version']} came without a model card.")
        return Response(known["card"], media_type="text/markdown")

    @router.get(
        "/{version}/report",
        summary="The evaluation report of a version",
        response_class=Response,
        responses=errors(404, 409, 503) | content("The page", "text/html"),
    )
    async def report(version: Version) -> Response:
        """How the version did on the frozen test split, as a page with its figures."""
        page: bytes = await trainer.ask("report_of", version)
        headers = {
            "content-security-policy": _REPORT_POLICY,
            "x-content-type-options": "nosniff",
        }
        return Response(page, headers=headers, media_type="text/html")

    @router.post(
        "/{version}/promote",
        summary="Let a version serve",
        response_model=Rollout,
        responses=errors(404, 409, 422, 503) | _GOING_ON,
    )
    async def promote(
        version: Version,
        request: Request,
        force: Annotated[bool, Query(description="even if the gate refused it")] = False,
    ) -> Response:
        """Make a version champion: 200 once every replica serves it, 202 while some do not yet."""
        return _rollout(await trainer.ask("promote", version, actor_of(request), force))

    @router.post(
        "/rollback",
        summary="Go back to the champion before",
        response_model=Rollout,
        responses=errors(404, 409, 503) | _GOING_ON,
    )
    async def rollback(request: Request) -> Response:
        """Let the previous champion serve again: 200 and 202 as for a promotion."""
        return _rollout(await trainer.ask("rollback", actor_of(request)))

    return router


def is_served(rollout: dict[str, Any]) -> bool:
    """Whether every replica serves the version of a rollout; False while some do not yet.

    Raises:
        RolloutFailed: if the version before goes on.
    """
    if rollout["state"] in _OVER:
        raise RolloutFailed(
            f"Version {rollout['to_version']} does not serve. {rollout['reason']} Version "
            f"{rollout['from_version']} goes on."
        )
    return rollout["state"] in _SERVED


def _rollout(rollout: dict[str, Any]) -> Response:
    return json_response(rollout, 200 if is_served(rollout) else 202)
