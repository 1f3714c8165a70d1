"""The ingress: the HTTP API as a Serve deployment, and the queue in front of the chain."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from models.errors import (
    MISTAKE,
    BodyTooLarge,
    DeadlineExceeded,
    DermServeError,
    Overloaded,
    TooManyFiles,
    UnsupportedImage,
)
from serve_app import schemas
from serve_app.answers import item, prediction
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.batching import LateBatcher
from serve_app.classification import Classification
from serve_app.datapath import describe_data_path
from serve_app.explanation import ExplainedImage, ExplanationRequest, check_class
from serve_app.hop import Hop
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient

logger = logging.getLogger("ray.serve")

STATUS_TIMEOUT_S = 5.0

Result = TypeVar("Result")


class Ingress:
    """One replica: bounds what is in progress and sends it down the chain.

    Args:
        preprocessor: handle of the next stage.
        explainer: handle of the stage beside the chain.
        archive: handle of what keeps uploads.
        settings: of the application.
    """

    def __init__(
        self,
        preprocessor: DeploymentHandle[Any],
        explainer: DeploymentHandle[Any],
        archive: DeploymentHandle[Any],
        settings: ServeSettings,
    ) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._status = preprocessor.options(method_name="status", _by_reference=False)
        self._in_progress = 0
        self._bytes_in_progress = 0
        self._chain: LateBatcher[bytes, Classification] = LateBatcher(
            Hop[bytes](preprocessor, "classify").call,
            max_batch=settings.max_batch_size,
            lanes=settings.hop_lanes,
            weigh=len,
            max_weight=settings.max_hop_bytes,
        )
        self._explainer = Hop[ExplanationRequest](explainer, "explain")
        self._archive = ArchiveClient(archive, settings)
        logger.info("%s", settings)
        logger.info("Data path: %s", describe_data_path())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the replica is constructed."""
        return create_api(self, self._archive, TrainerClient(), self._settings)

    async def predict(self, image: bytes, request_id: str | None = None) -> dict[str, Any]:
        """Classify one encoded image.

        Returns:
            The wire form of `schemas.Prediction`.

        Raises:
            DermServeError: what HTTP would answer with an error status.
        """
        result = (await self.classify([image], request_id or uuid.uuid4().hex))[0]
        if isinstance(result, DermServeError):
            raise result
        return result

    async def predict_batch(self, images: list[bytes]) -> list[dict[str, Any]]:
        """Classify encoded images.

        Returns:
            For each image, in order, `{"prediction": ...}` or `{"error": ...}`.
        """
        request_id = uuid.uuid4().hex
        return [item(result, request_id) for result in await self.classify(images, request_id)]

    async def classify(
        self, images: list[bytes], request_id: str
    ) -> list[dict[str, Any] | DermServeError]:
        """Send images down the chain.

        Returns:
            For each image, in order, the wire form of its answer, or its error.

        Raises:
            TooManyFiles, BodyTooLarge, UnsupportedImage: if the images are too many, too large
                or no bytes.
            Overloaded: if more images or bytes would be in progress than the replica holds.
            DeadlineExceeded: if the answers take longer than `deadline_s`.
        """
        if len(images) > self._settings.max_files:
            raise TooManyFiles(
                f"One request may carry {self._settings.max_files} images. Send the rest in "
                "further requests."
            )
        started = time.perf_counter()
        results = await self._bounded(images, lambda: self._chain.submit(images))
        total_s = time.perf_counter() - started
        return [
            prediction(result, request_id=request_id, total_s=total_s)
            if isinstance(result, Classification)
            else _as_error(result)
            for result in results
        ]

    async def explain(self, image: bytes, explained_class: str | None = None) -> ExplainedImage:
        """Show where one encoded image has the evidence for a class.

        Args:
            image: encoded.
            explained_class: a code of `CLASSES`; None stands for the predicted class.

        Raises:
            DermServeError: what HTTP would answer with an error status.
        """
        check_class(explained_class)
        request = ExplanationRequest(image, explained_class)
        # Not batched, so that a caller who hangs up takes the work with it.
        (result,) = await self._bounded([image], lambda: self._explainer.call([request]))
        if isinstance(result, ExplainedImage):
            return result
        raise _as_error(result)

    async def _bounded(self, images: list[bytes], work: Callable[[], Awaitable[Result]]) -> Result:
        """Do what takes some images, within the limits of the replica.

        Raises:
            BodyTooLarge, UnsupportedImage, Overloaded, DeadlineExceeded: as `classify`.
        """
        for image in images:
            self._check(image)
        size = sum(map(len, images))
        if (
            self._in_progress + len(images) > self._settings.max_waiting
            or self._bytes_in_progress + size > self._settings.max_waiting_bytes
        ):
            raise Overloaded(
                f"{self._in_progress} images are waiting, which is all the server takes. "
                "Send the request again in a second."
            )
        self._in_progress += len(images)
        self._bytes_in_progress += size
        task = asyncio.ensure_future(work())
        try:
            # Not wait_for: what a call says when it is cancelled must not pass for its answer.
            await asyncio.wait([task], timeout=self._settings.deadline_s)
            if not task.done():
                raise DeadlineExceeded(
                    f"There was no answer within {self._settings.deadline_s:g} s. The server is "
                    "busy; send the request again later."
                )
            return task.result()
        finally:
            task.cancel()
            self._in_progress -= len(images)
            self._bytes_in_progress -= size

    def _check(self, image: bytes) -> None:
        """What HTTP has checked already, for the callers of handles."""
        if not isinstance(image, bytes):
            raise UnsupportedImage(
                f"An image is the bytes of a file, not a {type(image).__name__}. Read the file."
            )
        if len(image) > self._settings.max_image_bytes:
            raise BodyTooLarge(
                f"The image is larger than {self._settings.max_image_bytes / 2**20:.3g} MiB."
            )

    async def health(self) -> dict[str, Any]:
        """The wire form of `schemas.Health`, with the word of one classifier replica."""
        try:
            status = await asyncio.wait_for(self._status.remote(), STATUS_TIMEOUT_S)
        except (RayError, RayServeException, asyncio.TimeoutError) as error:
            status = {
                "status": "unreachable",
                "reason": f"The chain does not answer ({type(error).__name__}).",
            }
        return schemas.Health(
            status=status["status"],
            reason=status.get("reason"),
            uptime_s=time.monotonic() - self._started,
            model=status.get("model"),
            engine=status.get("engine"),
            load_error=status.get("load_error"),
            standby=status.get("standby"),
            standby_error=status.get("standby_error"),
            waiting=self._in_progress,
            data_path=describe_data_path(),
        ).model_dump()


def _as_error(result: Exception) -> DermServeError:
    if isinstance(result, DermServeError):
        return result
    logger.error("The chain failed", exc_info=result)
    return DermServeError(MISTAKE)
