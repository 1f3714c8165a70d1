"""The routes of the protocol over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response

from models.errors import MalformedRequest
from serve_app.access.caller import actor_of
from serve_app.answers import json_response, request_id_of
from serve_app.body import read_body, read_json
from serve_app.open_inference import schemas
from serve_app.open_inference.http_body import (
    HEADER_LENGTH,
    InferBody,
    read_request,
    write_answer,
)
from serve_app.open_inference.metadata import MODEL, server_metadata
from serve_app.open_inference.protocol import OpenInference, aside
from serve_app.openapi import Responses, errors, json_body
from serve_app.service import Service, ready_health
from serve_app.settings import ServeSettings
from serve_app.work import Priority

Model = Annotated[str, Path(description=f"name of the model, which is {MODEL}")]
Version = Annotated[str, Path(description="of the registry; only the one that serves answers")]
Handler = Callable[[str, str, Request], Awaitable[Response]]


def open_inference_routes(
    protocol: OpenInference, service: Service, settings: ServeSettings
) -> APIRouter:
    """The routes under `/v2`.

    Args:
        protocol: what they ask.
        service: says how the chain is.
        settings: limits of bodies.
    """
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @router.get("", summary="Name and extensions", response_model=schemas.ServerMetadata)
    async def server() -> Response:
        """The server, and what it knows beyond the protocol."""
        return json_response(server_metadata())

    @router.get("/health/live", summary="Is the process alive?", response_model=schemas.Live)
    async def live() -> Response:
        """200 as long as this process answers."""
        return json_response(schemas.Live().model_dump())

    @router.get(
        "/health/ready",
        summary="Can it answer predictions?",
        response_model=schemas.Ready,
        responses=_errors(503),
    )
    async def ready() -> Response:
        """200 when a model is loaded, warmed up and self-tested; 503 with the reason otherwise."""
        await ready_health(service)
        return json_response(schemas.Ready().model_dump())

    @router.get(  # before the routes of a model, or it would be one of that name
        "/models/stats",
        summary="Statistics of all models",
        response_model=schemas.StatisticsList,
        responses=_errors(503),
    )
    async def all_stats() -> Response:
        """What the ingress replica that is asked has answered since it began."""
        return json_response(await protocol.statistics("", ""))

    @_of_model(router, "GET", "", response_model=schemas.ModelMetadata)
    async def metadata(model: str, version: str, request: Request) -> Response:
        """Versions, inputs and outputs."""
        return json_response(await protocol.metadata(model, version))

    @_of_model(router, "GET", "/ready", response_model=schemas.Ready)
    async def model_ready(model: str, version: str, request: Request) -> Response:
        """200 if this version serves."""
        await protocol.require(model, version)
        return json_response(schemas.Ready().model_dump())

    @_of_model(router, "GET", "/config", response_model=schemas.ModelConfig)
    async def config(model: str, version: str, request: Request) -> Response:
        """The model's configuration in Triton's form."""
        return json_response(await protocol.config(model, version))

    @_of_model(router, "GET", "/stats", response_model=schemas.StatisticsList)
    async def stats(model: str, version: str, request: Request) -> Response:
        """What the ingress replica that is asked has answered since it began."""
        return json_response(await protocol.statistics(model, version))

    @_of_model(
        router,
        "POST",
        "/infer",
        response_model=schemas.Inferred,
        response_model_exclude_none=True,
        responses=_errors(400, 404, 413, 415, 422, 503, 504),
        openapi_extra=_INFER,
    )
    async def infer(model: str, version: str, request: Request) -> Response:
        """Classify images: the input IMAGE, encoded, or PIXELS, preprocessed."""
        service.check_room(Priority.INTERACTIVE)  # before the body, which costs more than a no
        if request.headers.get("content-encoding", "identity") != "identity":
            raise MalformedRequest("The body is compressed. Send it as it is.")
        content = await read_body(request, settings.max_batch_bytes)
        asked = await aside(
            len(content),
            read_request,
            content,
            request.headers.get(HEADER_LENGTH),
            model=model,
            version=version,
            max_json_bytes=settings.max_inference_json_bytes,
        )
        body, length = write_answer(await protocol.infer(asked, request_id_of(request)))
        if length is None:
            return Response(body, media_type="application/json")
        headers = {HEADER_LENGTH: str(length)}
        return Response(body, headers=headers, media_type="application/octet-stream")

    @router.post(
        "/repository/index",
        summary="Versions in the registry",
        response_model=list[schemas.IndexEntry],
        responses=_errors(400, 413, 422, 503),
        openapi_extra=json_body(schemas.IndexRequest, required=False),
    )
    async def index(request: Request) -> Response:
        """Every version in the registry, and whether it serves."""
        wish = await read_json(request, schemas.IndexRequest)
        entries = await protocol.index(wish.ready)
        return Response(orjson.dumps(entries), media_type="application/json")

    @router.post(
        "/repository/models/{model}/load",
        summary="Let a version serve",
        responses=_errors(400, 404, 409, 413, 422, 503, 504),
        openapi_extra=json_body(schemas.RepositoryRequest),
    )
    async def load(model: Model, request: Request) -> Response:
        """Let the version that the parameter `version` names serve: `POST /models/{v}/promote`."""
        wish = await read_json(request, schemas.RepositoryRequest)
        await protocol.load(model, wish.parameters or {}, actor_of(request))
        return json_response({})

    @router.post(
        "/repository/models/{model}/unload",
        summary="Refused: the server needs its model",
        responses=_errors(404, 409),
        status_code=409,
        response_model=schemas.ProtocolError,
    )
    async def unload(model: Model) -> None:
        """Refused, always: load another version to replace the one that serves."""
        protocol.unload(model)

    return router


def _of_model(
    router: APIRouter, method: str, path: str, **options: Any
) -> Callable[[Handler], Handler]:
    """A route of the model, and the same with a version in front."""

    def add(handler: Handler) -> Handler:
        async def of_model(model: Model, request: Request) -> Response:
            return await handler(model, "", request)

        async def of_version(model: Model, version: Version, request: Request) -> Response:
            return await handler(model, version, request)

        for endpoint, prefix, suffix in (
            (of_model, "/models/{model}", ""),
            (of_version, "/models/{model}/versions/{version}", "_of_version"),
        ):
            router.add_api_route(
                prefix + path,
                endpoint,
                methods=[method],
                name=handler.__name__ + suffix,
                summary=_SUMMARIES[handler.__name__],
                description=handler.__doc__,
                **{"responses": _errors(404, 503), **options},
            )
        return handler

    return add


def _errors(*statuses: int) -> Responses:
    """Answers of these statuses in the protocol's form."""
    return {
        status: described | {"model": schemas.ProtocolError}
        for status, described in errors(*statuses).items()
    }


_SUMMARIES = {
    "metadata": "Versions, inputs and outputs",
    "model_ready": "Does it serve?",
    "config": "Triton's model configuration",
    "stats": "Statistics",
    "infer": "Classify images",
}

_INFER = {
    **json_body(InferBody),
    "parameters": [
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "description": "bytes of the body that are JSON, where tensors in binary form follow",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
}
