"""The classifier: a pool of MobileNetV2 replicas that group requests with `@serve.batch`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

from models.errors import DermServeError, MalformedRequest
from models.log_records import write_log_records
from serve_app.classification import Classification
from serve_app.device import Device
from serve_app.generation import version_of
from serve_app.message import Message, Pixels
from serve_app.reporter import Reporter
from serve_app.settings import ServeSettings
from serve_app.shared_memory import NotShared, SharedReader
from serve_app.stage import NOT_SHARED
from serve_app.work import Work

# `@serve.batch` only gathers what arrives together; the late batcher decides what runs
# together, so neither a wait nor a limit here may hold anything back. Serve warns once that
# max_ongoing_requests does not fill so many batches, which is as meant.
_UNLIMITED_BATCHES = 1_000_000


class Classifier:
    """One replica: a device, and what it tells the trainer; a `Stage`.

    Args:
        settings: of the application.
        pool: as for `Device`.
    """

    def __init__(self, settings: ServeSettings, pool: Executor | None = None) -> None:
        write_log_records()
        self._device = Device(settings, self._report, pool)
        self._reader = SharedReader()
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

    async def receive(self, message: Message) -> list[Classification | DermServeError] | str:
        """Classify the preprocessed images of another process.

        Returns:
            One result per image, in order. An image that fails gets its error as its result;
            all get `ModelUnavailable` while no model is loaded, and `MalformedRequest` if one is
            not uint8 of shape (224, 224, 3). `NOT_SHARED` if the images cannot be read here.
        """
        try:
            works = message.pixels(self._reader)
        except NotShared:
            return NOT_SHARED
        except MalformedRequest as error:
            return [error] * len(message.sizes)
        return await (await self._grouped(works))

    async def classify(self, works: Sequence[Work[Pixels]]) -> list[Classification | Exception]:
        """See `Stage.classify`; for a preprocessor in this process."""
        return list(await self._device.classify(works))

    @serve.batch(
        max_batch_size=256,
        batch_wait_timeout_s=0,
        max_concurrent_batches=_UNLIMITED_BATCHES,
    )
    async def _grouped(
        self, calls: list[list[Work[Pixels]]]
    ) -> list[asyncio.Task[list[Classification | DermServeError]]]:
        """Put the calls of one moment into the device's queue together.

        Each gets its answers when it has them: interactive work does not wait for the bulk work
        that happened to come with it.
        """
        return [asyncio.create_task(self._device.classify(works)) for works in calls]

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
