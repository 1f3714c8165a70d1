"""The HTTP API: routes of the wire contract. It moves bytes and knows no image code."""

from __future__ import annotations

import logging
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette._utils import get_route_path  # what the router and the guard go by
from starlette.exceptions import HTTPException

from models.errors import (
    MISTAKE,
    DermServeError,
    InvalidField,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
)
from serve_app import schemas
from serve_app.access.access import Access
from serve_app.access.documentation import document_access
from serve_app.access.guard import with_guard
from serve_app.answers import error_response, json_response, request_id_of
from serve_app.archive_client import ArchiveClient
from serve_app.body import invalid_fields
from serve_app.hot_path import with_hot_path
from serve_app.metrics_api import metrics_routes
from serve_app.models_api import model_routes
from serve_app.open_inference.metadata import is_ours
from serve_app.open_inference.protocol import OpenInference
from serve_app.open_inference.rest import open_inference_routes
from serve_app.predict_api import add_predict_routes, answer_predict
from serve_app.retrain_api import retrain_routes
from serve_app.service import Service, ready_health
from serve_app.settings import ServeSettings
from serve_app.telemetry.observed_app import with_observer
from serve_app.telemetry.observer import Observer
from serve_app.trainer_client import TrainerClient
from serve_app.upload_api import upload_routes

logger = logging.getLogger("ray.serve")

_LINKS = ("docs", "predict", "explain", "uploads", "models", "health")


def create_api(
    service: Service,
    archive: ArchiveClient,
    trainer: TrainerClient,
    settings: ServeSettings,
    access: Access,
    observer: Observer | None = None,
) -> FastAPI:
    """The routes over what is behind them.

    Args:
        service: predicts and explains.
        archive: keeps uploads.
        trainer: retrains and rolls models out.
        settings: limits of bodies and batches.
        access: says who may ask for what.
        observer: told of each request; None stands for one that writes no log.
    """
    # Its pages carry their scripts with them: hospital networks reach no CDN.
    app = FastAPIOffline(
        title="DermServe",
        version=version("dermserve"),
        description="Classifies dermatoscopic images of skin lesions. " + schemas.RESEARCH_USE,
        exception_handlers={
            DermServeError: _answer_error,
            HTTPException: _answer_framework_error,
            RequestValidationError: _answer_invalid,
            Exception: _answer_bug,
        },
    )

    @app.get("/", tags=["Service"], summary="What this is", response_model=schemas.ServiceInfo)
    async def root() -> Response:
        """What this is and where to go."""
        links = {name: f"/{name}" for name in _LINKS}
        return json_response(schemas.ServiceInfo(version=app.version, links=links).model_dump())

    add_predict_routes(app, service, settings)

    @app.get(
        "/health",
        tags=["Health"],
        summary="Model, engine and data path",
        response_model=schemas.Health,
    )
    async def health() -> Response:
        """The model, its engine, what waits and the path that requests take."""
        return json_response(await service.health())

    @app.get(
        "/health/live",
        tags=["Health"],
        summary="Is the process alive?",
        response_model=schemas.Live,
    )
    async def live() -> Response:
        """200 as long as this process answers."""
        return json_response(schemas.Live().model_dump())

    @app.get(
        "/health/ready",
        tags=["Health"],
        summary="Can it answer predictions?",
        response_model=schemas.Health,
        responses={503: {"model": schemas.ErrorResponse}},
    )
    async def ready(request: Request) -> Response:
        """200 when a model is loaded, warmed up and self-tested; 503 with the reason otherwise."""
        return json_response(await ready_health(service))

    app.include_router(upload_routes(archive, trainer, settings))
    app.include_router(retrain_routes(trainer, settings.deadline_s))
    app.include_router(model_routes(trainer))
    protocol = OpenInference(service, trainer, settings)
    app.include_router(open_inference_routes(protocol, service, settings))
    app.include_router(metrics_routes(archive, trainer))

    async def predict(request: Request) -> Response:
        """`POST /predict` without a query, its errors as answers."""
        try:
            return await answer_predict(service, settings, request)
        except DermServeError as error:
            return await _answer_error(request, error)
        except Exception as error:
            return await _answer_bug(request, error)

    document_access(app)
    guarded = with_guard(with_hot_path(app, "/predict", predict), access, settings, _refuse)
    return with_observer(guarded, observer or Observer(access_log=False))


def _refuse(error: DermServeError, path: str, request_id: str) -> Response:
    """The answer of an error, in the form of the protocol that was asked for."""
    return error_response(error, request_id, open_inference=is_ours(path))


async def _answer_error(request: Request, error: DermServeError) -> Response:
    return _refuse(error, get_route_path(request.scope), request_id_of(request))


async def _answer_framework_error(request: Request, error: HTTPException) -> Response:
    """Routing errors in our own form."""
    where = f"{request.method} {request.url.path}"
    known: DermServeError
    if error.status_code == 404:
        known = NotFound(f"There is no {where}. See /docs for what there is.")
    elif error.status_code == 405:
        known = MethodNotAllowed(f"There is no {where}. See /docs for its methods.")
    else:
        known = MalformedRequest(str(error.detail))
    response = _refuse(known, get_route_path(request.scope), request_id_of(request))
    response.headers.update(error.headers or {})  # a 405 has to say what is allowed
    return response


async def _answer_invalid(request: Request, error: RequestValidationError) -> Response:
    """Parameters that FastAPI has refused, in our own form."""
    known = InvalidField(invalid_fields(error.errors()))
    return _refuse(known, get_route_path(request.scope), request_id_of(request))


async def _answer_bug(request: Request, error: Exception) -> Response:
    """A bug of ours: the log gets the traceback, the client an id to quote."""
    where = f"{request.method} {get_route_path(request.scope)!r}"
    logger.exception("Unexpected error in %s", where, exc_info=error)
    bug = DermServeError(MISTAKE)
    return _refuse(bug, get_route_path(request.scope), request_id_of(request))
