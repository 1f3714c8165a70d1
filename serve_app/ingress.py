"""The ingress: the HTTP API as a Serve deployment, and the queue in front of the chain."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from models.errors import (
    MISTAKE,
    BodyTooLarge,
    DermServeError,
    InvalidField,
    TooManyFiles,
    UnsupportedImage,
)
from models.log_records import printable, write_log_records
from serve_app import schemas
from serve_app.access.access import Access, open_access
from serve_app.admission import Admission
from serve_app.answers import item, prediction
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.batching import QueueCounts
from serve_app.call import call
from serve_app.classification import Classification
from serve_app.datapath import describe_data_path
from serve_app.explanation import ExplainedImage, ExplanationRequest, check_class
from serve_app.message import Image, is_pixels, size_of
from serve_app.metrics import Reading, StageMetrics
from serve_app.open_inference.protocol import OpenInference
from serve_app.open_inference.rpc import Procedures
from serve_app.open_inference.statistics import Statistics
from serve_app.settings import ServeSettings
from serve_app.stage import RemoteStage, Stage, stage_of
from serve_app.telemetry import tracing
from serve_app.telemetry.observer import Observer, current
from serve_app.trainer_client import TrainerClient
from serve_app.work import Priority, Work

logger = logging.getLogger("ray.serve")

STATUS_TIMEOUT_S = 5.0


class Ingress(Procedures):
    """One replica: bounds what is in progress and sends it down the chain.

    Args:
        preprocessor: the next stage, or its handle.
        explainer: handle of the stage beside the chain.
        archive: handle of what keeps uploads.
        settings: of the application.
    """

    def __init__(
        self,
        preprocessor: Stage[Image] | DeploymentHandle[Any],
        explainer: DeploymentHandle[Any],
        archive: DeploymentHandle[Any],
        settings: ServeSettings,
    ) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._admission = Admission(settings)
        self._chain = stage_of(preprocessor, settings)
        self._metrics = StageMetrics("ingress", self._reading)
        self._explainer = explainer
        self._archive = ArchiveClient(archive, settings)
        self._trainer = TrainerClient()
        self._open_inference = OpenInference(self, self._trainer, settings)
        self.statistics = Statistics()
        self._access: Access
        self._observer = Observer(settings.access_log)
        tracing.tracer()  # what is wrong with the environment is said at the start
        write_log_records()
        logger.info("%s", settings)
        logger.info("Data path: %s", describe_data_path())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the replica is constructed, before anybody reaches it."""
        self._access = open_access(self._settings)
        return create_api(
            self, self._archive, self._trainer, self._settings, self._access, self._observer
        )

    async def predict(
        self,
        image: bytes,
        request_id: str | None = None,
        *,
        priority: Priority = Priority.INTERACTIVE,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Classify one encoded image.

        Args:
            image: encoded.
            request_id: echoed in the answer; None makes one.
            priority: what goes before what, in every queue.
            timeout_s: longest wait, `deadline_s` of the settings at most, which None stands for.

        Returns:
            The wire form of `schemas.Prediction`.

        Raises:
            DermServeError: what HTTP would answer with an error status.
        """
        (result,) = await self.classify(
            [image], request_id or uuid.uuid4().hex, priority=priority, timeout_s=timeout_s
        )
        if isinstance(result, DermServeError):
            raise result
        return result

    async def predict_batch(self, images: list[bytes]) -> list[dict[str, Any]]:
        """Classify encoded images, as bulk work.

        Returns:
            For each image, in order, `{"prediction": ...}` or `{"error": ...}`.
        """
        request_id = uuid.uuid4().hex
        results = await self.classify(images, request_id, priority=Priority.BULK)
        return [item(result, request_id) for result in results]

    async def classify(
        self,
        images: Sequence[Image],
        request_id: str,
        *,
        priority: Priority = Priority.INTERACTIVE,
        timeout_s: float | None = None,
    ) -> list[dict[str, Any] | DermServeError]:
        """Send images down the chain.

        Args:
            images: encoded, or pixels as `decode_image` makes them.
            request_id: echoed in the answers.
            priority: as for `predict`.
            timeout_s: as for `predict`.

        Returns:
            For each image, in order, the wire form of its answer, or its error:
            `DeadlineExceeded` if there is none in time.

        Raises:
            TooManyFiles, BodyTooLarge, UnsupportedImage: if the images are too many, too large
                or no bytes.
            InvalidField: if `timeout_s` is not above 0.
            Overloaded: if more images or bytes would be in progress than the replica holds.
        """
        if len(images) > self._settings.max_files:
            raise TooManyFiles(
                f"One request may carry {self._settings.max_files} images. Send the rest in "
                "further requests."
            )
        for image in images:
            if not is_pixels(image):
                self._check(image)
        if timeout_s is not None and not timeout_s > 0:  # nor a number that is none
            raise InvalidField(f"timeout_s: {timeout_s} is not above 0. Give seconds, or None.")
        started = time.monotonic()
        deadline = started + min(timeout_s or math.inf, self._settings.deadline_s)
        observed = current()
        trace = None if observed is None else observed.trace()
        known_as = printable(request_id)  # a client's own may be as long as its headers
        works = [Work(image, priority, deadline, known_as, trace) for image in images]
        with self._admission.admit(len(images), sum(map(size_of, images)), priority):
            results = await self._chain.classify(works)
        total_s = time.monotonic() - started
        self._metrics.observe("total", total_s)
        self.statistics.observe(results, total_s)
        if observed is not None:
            observed.model_version = _version_in(results)
        return [
            prediction(result, request_id=request_id, total_s=total_s)
            if isinstance(result, Classification)
            else _as_error(result, request_id)
            for result in results
        ]

    def check_room(self, priority: Priority) -> None:
        """Raise `Overloaded` if not even one more image would find room."""
        self._metrics.start()  # a replica that turns everybody away has to say so
        self._admission.check(priority=priority)

    async def explain(self, image: bytes, explained_class: str | None = None) -> ExplainedImage:
        """Show where one encoded image has the evidence for a class.

        Args:
            image: encoded.
            explained_class: a code of `CLASSES`; None stands for the predicted class.

        Raises:
            DermServeError: what HTTP would answer with an error status.
        """
        check_class(explained_class)
        self._check(image)
        request = ExplanationRequest(image, explained_class)
        with self._admission.admit(1, len(image), Priority.INTERACTIVE):
            # Not batched, so that a caller who hangs up takes the work with it.
            (result,) = await call(
                self._explainer,
                "explain",
                [request],
                timeout_s=self._settings.deadline_s,
                changes_nothing=True,
            )
        if isinstance(result, ExplainedImage):
            if (observed := current()) is not None:
                observed.model_version = result.model_version
            return result
        raise _as_error(result)

    def _reading(self) -> Reading:
        # What waits here waits in the chain: admitted, not answered yet.
        waiting, rejected = self._admission.images, self._admission.rejected
        if isinstance(hop := self._chain, RemoteStage):
            return Reading(hop.counts.copy(), waiting, rejected, hop.sent_again)
        return Reading(QueueCounts(), waiting, rejected)

    def _check(self, image: object) -> None:
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
            status = await asyncio.wait_for(self._chain.status(), STATUS_TIMEOUT_S)
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
            waiting=self._admission.images,
            data_path=describe_data_path(),
        ).model_dump()


def _version_in(results: Sequence[Classification | Exception]) -> str | None:
    """Of the model that answered; the first, if another one took over meanwhile."""
    answered = (each for each in results if isinstance(each, Classification))
    return next((each.model.version for each in answered), None)


def _as_error(result: Exception, request_id: str | None = None) -> DermServeError:
    if isinstance(result, DermServeError):
        return result
    extra = {"request_id": request_id} if request_id else None
    logger.error("The chain failed", exc_info=result, extra=extra)
    return DermServeError(MISTAKE)
