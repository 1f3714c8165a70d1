"""The routes of uploads and of the review queue."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Path, Query, Request, Response

from models.classes import CLASSES
from models.errors import InvalidField, TrainerUnavailable
from serve_app import upload_schemas as schemas
from serve_app.access.caller import actor_of
from serve_app.answers import json_response, request_id_of
from serve_app.archive_client import ArchiveClient
from serve_app.body import read_json
from serve_app.openapi import UPLOAD_BODY, content, errors, json_body
from serve_app.settings import ServeSettings
from serve_app.trainer_client import STATUS_TIMEOUT_S, TrainerClient
from serve_app.upload import Verdict, VerdictName
from serve_app.upload_form import UploadForm, open_upload

UploadId = Annotated[str, Path(alias="id", description="of an upload")]


def upload_routes(
    archive: ArchiveClient, trainer: TrainerClient, settings: ServeSettings
) -> APIRouter:
    """The routes over an archive.

    Args:
        archive: takes the images in.
        trainer: says what is missing until a retraining.
        settings: limits of bodies.
    """
    router = APIRouter(tags=["Uploads"])

    @router.post(
        "/upload/bulk",
        summary="Upload images to learn from",
        response_model=schemas.UploadAnswer,
        responses=errors(400, 413, 422, 503, 504, 507),
        openapi_extra=UPLOAD_BODY,
    )
    async def post_upload(request: Request) -> Response:
        """Store images with their labels: a verdict for each form field `files`, in order.

        Labels come as one field `labels` per file, in the order of the files and empty where
        there is none; as one field `labels` with a JSON object by file name, of class codes or of
        objects with `label`, `lesion_id` and `label_source`; or as a CSV file `manifest` with the
        columns `file,label,lesion_id,label_source`. Images without a label wait in the review
        queue. Metadata are removed before an image is stored, and file names are not kept.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.deadline_s  # reading the body is part of it
        with archive.place():
            async with open_upload(request, settings) as upload:
                verdicts = await archive.add(upload, actor_of(request), deadline)
        return json_response(
            {
                "results": _results(upload, verdicts),
                "counts": _counts(verdicts),
                "retraining": await _missing(trainer, deadline - loop.time()),
                "request_id": request_id_of(request),
            }
        )

    @router.get(
        "/uploads",
        summary="List uploads",
        response_model=schemas.UploadPage,
        responses=errors(422, 503, 504),
    )
    async def get_uploads(
        status: schemas.Status | None = None,
        label: Annotated[str | None, Query(json_schema_extra={"enum": list(CLASSES)})] = None,
        label_source: schemas.LabelSource | None = None,
        uploader: str | None = None,
        lesion_id: str | None = None,
        order: schemas.Order = "newest",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """Uploads that match every filter.

        The review queue is `?status=needs_label&order=uncertainty`: first comes what the model
        was least certain of.
        """
        filters = {
            "status": status,
            "label": label,
            "label_source": label_source,
            "uploader": uploader,
            "lesion_id": lesion_id,
            "order": order,
            "limit": limit,
            "offset": offset,
        }
        return json_response(await archive.ask("page", filters))

    @router.get(
        "/uploads/{id}",
        summary="One upload",
        response_model=schemas.Upload,
        responses=errors(404, 503, 504),
    )
    async def get_upload(upload_id: UploadId) -> Response:
        """What is known of one upload."""
        return json_response(await archive.ask("get", upload_id))

    @router.patch(
        "/uploads/{id}",
        summary="Label an upload, or correct its label",
        response_model=schemas.Upload,
        responses=errors(400, 404, 413, 422, 503, 504, 507),
        openapi_extra=json_body(schemas.UploadChange),
    )
    async def patch_upload(upload_id: UploadId, request: Request) -> Response:
        """Change the label, its source or the lesion of one upload."""
        change = (await read_json(request, schemas.UploadChange)).model_dump(exclude_unset=True)
        if not change:
            raise InvalidField("Nothing is to change. Send label, label_source or lesion_id.")
        return json_response(await archive.ask("change", upload_id, change, actor_of(request)))

    @router.delete(
        "/uploads/{id}",
        summary="Remove an upload",
        response_model=schemas.Deleted,
        responses=errors(404, 503, 504, 507),
    )
    async def delete_upload(upload_id: UploadId, request: Request) -> Response:
        """Remove an image and all that is known of it; models that learned from it stay."""
        return json_response(await archive.ask("delete", upload_id, actor_of(request)))

    @router.get(
        "/uploads/{id}/image",
        summary="The image of an upload",
        response_class=Response,
        responses=errors(404, 503, 504) | content("The image", "image/jpeg", "image/png"),
    )
    async def get_image(upload_id: UploadId) -> Response:
        """The image as it is stored: without metadata."""
        image = await archive.ask("image", upload_id)
        headers = {
            "content-disposition": f'inline; filename="{image.name}"',
            "cache-control": "no-store",
            "content-security-policy": "default-src 'none'; sandbox",
            "x-content-type-options": "nosniff",
        }
        return Response(image.data, headers=headers, media_type=image.media_type)

    return router


def _results(upload: UploadForm, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [
        {"index": index, "filename": file.filename or "", **_said(verdict)}
        for index, (file, verdict) in enumerate(zip(upload.files, verdicts, strict=True))
    ]


def _said(verdict: Verdict) -> dict[str, str]:
    fields = dataclasses.asdict(verdict)
    return {name: value for name, value in fields.items() if value is not None}


def _counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    counted = Counter(verdict.verdict for verdict in verdicts)
    return {name: counted[name] for name in get_args(VerdictName)}


async def _missing(trainer: TrainerClient, left_s: float) -> dict[str, Any] | None:
    """What is missing until a retraining; an upload does not fail because nobody can say."""
    timeout_s = min(STATUS_TIMEOUT_S, max(0.0, left_s))
    try:
        missing: dict[str, Any] = await trainer.ask("waiting", timeout_s=timeout_s)
    except TrainerUnavailable:
        return None
    return missing
