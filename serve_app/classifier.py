"""The classifier: a pool of MobileNetV2 replicas that group requests with `@serve.batch`."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from ray import serve

from models.decision import Decision, decide
from models.errors import DermServeError, MalformedRequest, ModelUnavailable
from models.novelty import NoveltyDetector
from models.package import NOVELTY_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE
from models.registry_process import resolve
from serve_app.batching import LateBatcher
from serve_app.classification import Classification, ServedModel
from serve_app.engines import create_engine
from serve_app.engines.base import Engine, warm_up
from serve_app.settings import ServeSettings

logger = logging.getLogger("ray.serve")

# `@serve.batch` only gathers what arrives together; the late batcher decides what runs
# together, so neither a wait nor a limit here may hold anything back. Serve warns once that
# max_ongoing_requests does not fill so many batches, which is as meant.
_UNLIMITED_BATCHES = 1_000_000


class ClassifierConfig(BaseModel):
    """The classifier's `user_config`: what may change without a restart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "champion"
    """`champion`, or a version of the registry or the folder of a package, which pins it."""


@dataclass(frozen=True)
class _Loaded:
    """A model ready to answer."""

    engine: Engine
    novelty: NoveltyDetector
    package: ModelPackage
    served: ServedModel

    def forward(self, batch: list[npt.NDArray[np.uint8]]) -> list[Decision]:
        """Everything between pixels and answers, on a lane's thread."""
        logits, statistics = self.engine.forward(batch)
        return decide(logits, self.novelty.score(statistics), self.package.manifest.decision)


class Classifier:
    """One replica: one loaded model, and the lanes of its device.

    Args:
        settings: of the application.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._loaded: _Loaded | None = None
        self._load_error: str | None = None
        self._device: LateBatcher[npt.NDArray[np.uint8], Classification] | None = None
        self._swap: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(thread_name_prefix="forward")

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Load the model that the configuration names.

        The first time, before the replica takes requests, this waits for the model. Later
        it returns at once and the new model takes over between two batches. It never raises,
        because Serve would replace the replica by one that fails the same way: with no model,
        requests are answered 503 with the reason, and with an old one it goes on serving.
        """
        if self._loaded is None:
            await self._load(user_config)
        else:
            if self._swap is not None:
                self._swap.cancel()  # only the newest wish counts
            self._swap = asyncio.create_task(self._load(user_config))

    async def _load(self, user_config: dict[str, Any]) -> None:
        started = time.perf_counter()
        try:
            loaded = await asyncio.to_thread(self._load_package, user_config)
        except DermServeError as error:
            self._load_error = error.message
            logger.error("The model was not loaded: %s", error.message)
        except Exception as error:
            self._load_error = f"{type(error).__name__}: {error}"
            logger.exception("The model was not loaded")
        else:
            self._loaded, self._load_error = loaded, None
            if self._device is None:
                # Kept for life: a second one would run beside the first during a swap.
                self._device = LateBatcher(
                    self._run,
                    max_batch=min(loaded.engine.max_piece, self._settings.max_batch_size),
                    lanes=loaded.engine.info.lanes,
                )
            logger.info(
                "Model %s is loaded and tested in %.1f s: %s",
                loaded.served.version,
                time.perf_counter() - started,
                loaded.engine.info,
            )

    def _load_package(self, user_config: dict[str, Any]) -> _Loaded:
        config = ClassifierConfig.model_validate(user_config)
        package = ModelPackage.load(resolve(config.model))
        engine = create_engine(
            package,
            self._settings.engine,
            threads=self._settings.effective_threads,
            max_batch=self._settings.max_batch_size,
        )
        warm_up(engine)
        novelty = NoveltyDetector.load(package.file(NOVELTY_FILE))
        return _Loaded(engine, novelty, package, ServedModel.of(package.manifest))

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
        if self._device is None:
            reason = self._load_error or "It is loading."
            return [ModelUnavailable(f"No model is loaded. {reason}")] * len(images)
        return await self._grouped(images)

    @serve.batch(
        max_batch_size=256,
        batch_wait_timeout_s=0,
        max_concurrent_batches=_UNLIMITED_BATCHES,
    )
    async def _grouped(
        self, calls: list[npt.NDArray[np.uint8]]
    ) -> list[list[Classification | DermServeError]]:
        assert self._device is not None  # checked by `classify`, and never unset
        results = await self._device.submit([image for images in calls for image in images])
        answers = iter([_as_answer(result) for result in results])
        return [[next(answers) for _ in images] for images in calls]

    async def _run(self, batch: list[npt.NDArray[np.uint8]]) -> list[Classification]:
        """One forward on a lane's thread, with whatever model is loaded when it starts."""
        loaded = self._loaded
        assert loaded is not None  # the device exists only once a model is loaded
        started = time.perf_counter()
        decisions = await asyncio.get_running_loop().run_in_executor(
            self._pool, loaded.forward, batch
        )
        forward_s = time.perf_counter() - started
        return [Classification(decision, loaded.served, forward_s) for decision in decisions]

    async def status(self) -> dict[str, Any]:
        """The loaded model, its engine and what waits, for health checks."""
        if self._loaded is None:
            return {"status": "not_ready", "reason": self._load_error or "The model is loading."}
        manifest = self._loaded.package.manifest
        return {
            "status": "ok",
            "model": {
                "version": manifest.version,
                "dataset_hash": manifest.dataset_hash,
                "created": manifest.created.isoformat(),
            },
            "engine": asdict(self._loaded.engine.info),
            "load_error": self._load_error,
        }

    async def check_health(self) -> None:
        """Raise if the grouping task died, which would leave requests waiting for ever."""
        if not await self._grouped._is_batching_task_alive():  # type: ignore[attr-defined]
            raise RuntimeError("the @serve.batch task is no longer running")


def _as_answer(result: Classification | Exception) -> Classification | DermServeError:
    if isinstance(result, Classification | DermServeError):
        return result
    logger.error("A forward failed", exc_info=result)
    return DermServeError("The model failed on this image. The server's log says why.")
