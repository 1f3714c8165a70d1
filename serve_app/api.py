"""The HTTP API: routes of the wire contract. It moves bytes and knows no image code."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from models.classes import CLASSES
from models.errors import (
    MISTAKE,
    DermServeError,
    InvalidField,
    MalformedRequest,
    MethodNotAllowed,
    ModelUnavailable,
    NotFound,
    StageUnavailable,
)
from serve_app import schemas
from serve_app.answers import error_response, item, json_response, request_id_of
from serve_app.archive_client import ArchiveClient
from serve_app.body import ImageFile, invalid_fields, read_image, read_images
from serve_app.explanation import ExplainedImage, check_class
from serve_app.models_api import model_routes
from serve_app.openapi import BATCH_BODY, ERRORS, EXPLANATIONS, PREDICT_BODY
from serve_app.retrain_api import retrain_routes
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from serve_app.upload_api import upload_routes

logger = logging.getLogger("ray.serve")

_LINKS = ("docs", "predict", "explain", "uploads", "models", "health")


class Service(Protocol):
    """What the routes need: the chain behind them."""

    async def predict(self, image: bytes, request_id: str) -> dict[str, Any]:
        """The wire form of one image's answer; raises its error."""
        ...

    async def classify(
        self, images: list[bytes], request_id: str
    ) -> list[dict[str, Any] | DermServeError]:
        """The wire form of an answer, or an error, for each image in order."""
        ...

    async def explain(self, image: bytes, explained_class: str | None) -> ExplainedImage:
        """The overlay of one image; raises its error."""
        ...

    async def health(self) -> dict[str, Any]:
        """The wire form of `schemas.Health`."""
        ...


def create_api(
    service: Service, archive: ArchiveClient, trainer: TrainerClient, settings: ServeSettings
) -> FastAPI:
    """The routes over what is behind them.

    Args:
        service: predicts and explains.
        archive: keeps uploads.
        trainer: retrains and rolls models out.
        settings: limits of bodies and batches.
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

    @app.post(
        "/predict",
        tags=["Predictions"],
        summary="Classify one image",
        response_model=schemas.Prediction,
        responses=ERRORS,
        openapi_extra=PREDICT_BODY,
    )
    async def post_predict(request: Request) -> Response:
        """Classify one image: the form field `file`, or the raw image as body."""
        image = await read_image(request, settings.max_image_bytes)
        return json_response(await service.predict(image, request_id_of(request)))

    @app.post(
        "/predict/batch",
        tags=["Predictions"],
        summary="Classify several images",
        response_model=schemas.BatchPrediction,
        response_model_exclude_none=True,
        responses=ERRORS,
        openapi_extra=BATCH_BODY,
    )
    async def post_predict_batch(request: Request) -> Response:
        """Classify several images: a result or an error for each form field `files`, in order."""
        files = await read_images(
            request,
            max_files=settings.max_files,
            max_image_bytes=settings.max_image_bytes,
            max_bytes=settings.max_batch_bytes,
        )
        return json_response(await predict_files(service, files, request_id_of(request)))

    @app.post(
        "/explain",
        tags=["Explanations"],
        summary="Show where the evidence for a class lay",
        response_class=Response,
        responses=EXPLANATIONS,
        openapi_extra=PREDICT_BODY,
    )
    async def post_explain(
        request: Request,
        explained_class: Annotated[
            str | None,
            Query(
                alias="class",
                description="the class to explain; the predicted one if left out",
                json_schema_extra={"enum": list(CLASSES)},
            ),
        ] = None,
    ) -> Response:
        """Lay a Grad-CAM map of one image over it: the form field `file`, or the raw image as body.

        The map shows where in the image the model found its evidence for a class, coarsely, from
        none (uncoloured) over purple and green to the most of this image (yellow). It does not
        show why, it is no outline of the lesion, and it is no diagnosis.
        """
        check_class(explained_class)  # before the body, which nobody needs to send for a misprint
        image = await read_image(request, settings.max_image_bytes)
        explained = await service.explain(image, explained_class)
        headers = {
            "x-model-version": explained.model_version,
            "x-predicted-class": explained.predicted_class,
            "x-explained-class": explained.explained_class,
        }
        return Response(explained.png, headers=headers, media_type="image/png")

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
        health = await service.health()
        if health["status"] == "unreachable":
            raise StageUnavailable(health["reason"])
        if health["status"] != "ok":
            raise ModelUnavailable(health["reason"])
        return json_response(health)

    app.include_router(upload_routes(archive, trainer, settings))
    app.include_router(retrain_routes(trainer, settings.deadline_s))
    app.include_router(model_routes(trainer))
    return app


async def predict_files(
    service: Service, files: list[ImageFile], request_id: str
) -> dict[str, Any]:
    """Classify the readable files of a batch; the wire form of `schemas.BatchPrediction`."""
    readable = [file.data for file in files if isinstance(file.data, bytes)]
    answers = iter(await service.classify(readable, request_id))
    results = [
        {
            "index": index,
            "filename": file.name,
            **item(next(answers) if isinstance(file.data, bytes) else file.data, request_id),
        }
        for index, file in enumerate(files)
    ]
    failed = sum("error" in result for result in results)
    return {
        "results": results,
        "succeeded": len(results) - failed,
        "failed": failed,
        "request_id": request_id,
    }


async def _answer_error(request: Request, error: DermServeError) -> Response:
    return error_response(error, request_id_of(request))


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
    response = error_response(known, request_id_of(request))
    response.headers.update(error.headers or {})  # a 405 has to say what is allowed
    return response


async def _answer_invalid(request: Request, error: RequestValidationError) -> Response:
    """Parameters that FastAPI has refused, in our own form."""
    known = InvalidField(invalid_fields(error.errors()))
    return error_response(known, request_id_of(request))


async def _answer_bug(request: Request, error: Exception) -> Response:
    """A bug of ours: the log gets the traceback, the client an id to quote."""
    logger.exception("Unexpected error in %s", request.url.path, exc_info=error)
    bug = DermServeError(MISTAKE)
    return error_response(bug, request_id_of(request))
