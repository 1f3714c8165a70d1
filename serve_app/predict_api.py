"""The routes of predictions: one image, several, and where the evidence lay."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response

from models.classes import CLASSES
from serve_app import schemas
from serve_app.answers import item, json_response, request_id_of
from serve_app.body import ImageFile, read_image, read_images
from serve_app.explanation import check_class
from serve_app.openapi import BATCH_BODY, ERRORS, EXPLANATIONS, PREDICT_BODY
from serve_app.service import Service
from serve_app.settings import ServeSettings
from serve_app.work import Priority

_PRIORITIES = {priority.name.lower(): priority for priority in Priority}

PriorityQuery = Annotated[
    Literal["interactive", "bulk"],
    Query(description="bulk work gives way to interactive work, in every queue"),
]
TimeoutQuery = Annotated[
    float | None,
    Query(gt=0, description="longest wait in seconds, the server's own at most; then 504"),
]


def add_predict_routes(app: FastAPI, service: Service, settings: ServeSettings) -> None:
    """The routes over the chain.

    Args:
        app: gets them.
        service: predicts and explains.
        settings: limits of bodies and batches.
    """

    @app.post(
        "/predict",
        tags=["Predictions"],
        summary="Classify one image",
        response_model=schemas.Prediction,
        responses=ERRORS,
        openapi_extra=PREDICT_BODY,
    )
    async def post_predict(
        request: Request,
        priority: PriorityQuery = "interactive",
        timeout_s: TimeoutQuery = None,
    ) -> Response:
        """Classify one image: the form field `file`, or the raw image as body."""
        return await answer_predict(service, settings, request, _PRIORITIES[priority], timeout_s)

    @app.post(
        "/predict/batch",
        tags=["Predictions"],
        summary="Classify several images",
        response_model=schemas.BatchPrediction,
        response_model_exclude_none=True,
        responses=ERRORS,
        openapi_extra=BATCH_BODY,
    )
    async def post_predict_batch(
        request: Request, priority: PriorityQuery = "bulk", timeout_s: TimeoutQuery = None
    ) -> Response:
        """Classify several images: a result or an error for each form field `files`, in order."""
        service.check_room(_PRIORITIES[priority])
        files = await read_images(
            request,
            max_files=settings.max_files,
            max_image_bytes=settings.max_image_bytes,
            max_bytes=settings.max_batch_bytes,
        )
        return json_response(
            await predict_files(
                service,
                files,
                request_id_of(request),
                priority=_PRIORITIES[priority],
                timeout_s=timeout_s,
            )
        )

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


async def answer_predict(
    service: Service,
    settings: ServeSettings,
    request: Request,
    priority: Priority = Priority.INTERACTIVE,
    timeout_s: float | None = None,
) -> Response:
    """The answer of `POST /predict`; raises its error."""
    service.check_room(priority)  # before the body, which costs more than a no
    image = await read_image(request, settings.max_image_bytes)
    return json_response(
        await service.predict(image, request_id_of(request), priority=priority, timeout_s=timeout_s)
    )


async def predict_files(
    service: Service,
    files: list[ImageFile],
    request_id: str,
    *,
    priority: Priority = Priority.BULK,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Classify the readable files of a batch; the wire form of `schemas.BatchPrediction`."""
    readable = [file.data for file in files if isinstance(file.data, bytes)]
    answers = iter(
        await service.classify(readable, request_id, priority=priority, timeout_s=timeout_s)
    )
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
