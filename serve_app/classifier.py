"""The classifier: a pool of MobileNetV2 replicas that group requests with `@serve.batch`."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.serve.exceptions import RayServeException

from models.errors import DermServeError, MalformedRequest
from models.preprocessing import IMAGE_SIZE
from serve_app.classification import Classification
from serve_app.device import Device
from serve_app.generation import version_of
from serve_app.reporter import Reporter
from serve_app.settings import ServeSettings

# `@serve.batch` only gathers what arrives together; the late batcher decides what runs
# together, so neither a wait nor a limit here may hold anything back. Serve warns once that
# max_ongoing_requests does not fill so many batches, which is as meant.
_UNLIMITED_BATCHES = 1_000_000


class Classifier:
    """One replica: a device, and what it tells the trainer.

    Args:
        settings: of the application.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._device = Device(settings, self._report)
        self._reporter: Reporter | None = None

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Set out for the models that the configuration names; see `ClassifierConfig`.

        The first time, before the replica takes requests, this waits for the model. Later
        it returns at once and the new model takes over between two batches. It never raises,
        because Serve would replace the replica by one that fails the same way: with no model,
        requests are answered 503 with the reason, and with an old one it goes on serving.
        """
        self._device.slot.wish(user_config)
        self._start_reporting()
        await self._device.slot.decided.wait()

    async def classify(
        self, images: npt.NDArray[np.uint8]
    ) -> list[Classification | DermServeError]:
        """Classify preprocessed images.

        Args:
            images: uint8, shape (n, 224, 224, 3), RGB.

        Returns:
            One result per image, in order. An image that fails gets its error as its result;
            all get `ModelUnavailable` while no model is loaded.

        Raises:
            MalformedRequest: if the array has another shape or dtype.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise MalformedRequest(
                f"Expected uint8 of shape (n, {IMAGE_SIZE}, {IMAGE_SIZE}, 3), got {images.dtype} "
                f"of shape {images.shape}."
            )
        return await self._grouped(images)

    @serve.batch(
        max_batch_size=256,
        batch_wait_timeout_s=0,
        max_concurrent_batches=_UNLIMITED_BATCHES,
    )
    async def _grouped(
        self, calls: list[npt.NDArray[np.uint8]]
    ) -> list[list[Classification | DermServeError]]:
        answers = iter(await self._device.classify([image for images in calls for image in images]))
        return [[next(answers) for _ in images] for images in calls]

    async def status(self) -> dict[str, Any]:
        """The models, the engine and what went wrong, for health checks."""
        generation = self._device.slot.generation
        if generation.serving is None:
            reason = generation.load_error or "The model is loading."
            return {"status": "not_ready", "reason": reason}
        manifest = generation.serving.package.manifest
        return {
            "status": "ok",
            "model": {
                "version": manifest.version,
                "dataset_hash": manifest.dataset_hash,
                "created": manifest.created.isoformat(),
            },
            "engine": asdict(generation.serving.engine.info),
            "load_error": generation.load_error,
            "generation": generation.number,
            "standby": version_of(generation.standby),
            "standby_error": generation.standby_error,
        }

    async def check_health(self) -> None:
        """Raise if the grouping task died, which would leave requests waiting for ever."""
        if not await self._grouped._is_batching_task_alive():  # type: ignore[attr-defined]
            raise RuntimeError("the @serve.batch task is no longer running")

    def _start_reporting(self) -> None:
        if self._reporter is None:
            with contextlib.suppress(RayServeException):  # outside Serve there is no trainer
                replica_id = serve.get_replica_context().replica_tag
                self._reporter = Reporter(lambda: self._device.slot.generation.report(replica_id))

    def _report(self) -> None:
        if self._reporter is not None:
            self._reporter.report_soon()
