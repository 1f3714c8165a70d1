"""The device of a replica: its lanes run whatever model is in place, the shadow their lulls."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from models.errors import DeadlineExceeded, DermServeError, ModelUnavailable
from serve_app.batching import LateBatcher, QueueCounts
from serve_app.classification import Classification
from serve_app.generation import Counts, Generation
from serve_app.loaded_model import LoadedModel, load_engine
from serve_app.message import Pixels
from serve_app.metrics import Reading, StageMetrics
from serve_app.model_metrics import ModelMetrics
from serve_app.model_slot import ModelSlot
from serve_app.niceness import give_way
from serve_app.settings import ServeSettings
from serve_app.shadow import Shadow
from serve_app.telemetry.stage_spans import record, traced
from serve_app.work import Work

logger = logging.getLogger("ray.serve")


class Device:
    """Everything of a replica but Serve. Belongs to one event loop.

    Args:
        settings: of the application.
        changed: called whenever other models are in place, or could not be put there.
        pool: with as many threads as `settings.effective_threads` at least; None makes one.
    """

    def __init__(
        self,
        settings: ServeSettings,
        changed: Callable[[], None],
        pool: Executor | None = None,
    ) -> None:
        self.slot = ModelSlot(partial(LoadedModel.load, settings=settings), self._follow)
        self._settings = settings
        self._changed = changed
        self._lanes: LateBatcher[Pixels, Classification] | None = None
        self._pool = pool or ThreadPoolExecutor(
            max(32, settings.effective_threads), "forward", initializer=give_way
        )
        self._shadow: Shadow | None = None
        self._begun = self._ended = 0  # batches
        self._metrics = StageMetrics("classifier", self._reading)
        self._model_metrics = ModelMetrics(lambda: self.slot.generation)

    async def classify(
        self, works: Sequence[Work[Pixels]]
    ) -> list[Classification | DermServeError]:
        """Classify images, whatever model is in place when a lane takes each.

        Args:
            works: each uint8, shape (224, 224, 3), RGB.

        Returns:
            One result per image, in order; `ModelUnavailable` for all if there is no model.
        """
        return await traced("classifier", works, self._classify)

    async def _classify(
        self, works: Sequence[Work[Pixels]]
    ) -> list[Classification | DermServeError]:
        if self._lanes is None:
            generation = self.slot.generation
            generation.counts.live_images += len(works)
            generation.counts.live_errors += len(works)
            reason = generation.load_error or "It is loading."
            return [ModelUnavailable(f"No model is loaded. {reason}")] * len(works)
        results = await self._lanes.submit(works)
        return [self._as_answer(work, result) for work, result in zip(works, results, strict=True)]

    async def close(self) -> None:
        """Free the models and end the threads."""
        if self._shadow is not None:
            self._shadow.close()
        await self.slot.close()
        self._pool.shutdown()

    async def _run(self, works: list[Work[Pixels]]) -> list[Classification]:
        """One forward on a lane's thread."""
        batch = [work.payload for work in works]
        self._begun += 1
        try:
            answers, counts, started = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._forward, batch
            )
        finally:
            self._ended += 1
        forward_s, version = answers[0].forward_s, answers[0].model.version
        record("forward", works, started, started + forward_s, shared=True, model_version=version)
        counts.live_images += len(batch)
        counts.live_forward_s += forward_s
        self._metrics.observe_batch(len(batch), "forward", forward_s)
        if self._shadow is not None and self._shadow.counts is counts:
            self._shadow.offer(batch, [answer.decision.predicted_class for answer in answers])
        return answers

    def _forward(self, batch: list[Pixels]) -> tuple[list[Classification], Counts, float]:
        """Answer with whatever model serves when this starts; also when that was.

        Only here is a model held on to, so that one that is replaced is never freed on the
        event loop.
        """
        generation = self.slot.generation
        model = generation.serving
        assert model is not None  # the lanes exist only once a model is loaded
        started = time.perf_counter()
        decisions = model.forward(batch, generation.sampler)
        forward_s = time.perf_counter() - started
        answers = [
            Classification(decision, model.served, forward_s, batch=len(batch))
            for decision in decisions
        ]
        return answers, generation.counts, started

    def _reading(self) -> Reading:
        if self._lanes is None:
            return Reading(QueueCounts(), 0)
        return Reading(self._lanes.counts.copy(), self._lanes.waiting)

    def _as_answer(
        self, work: Work[Pixels], result: Classification | Exception
    ) -> Classification | DermServeError:
        if isinstance(result, Classification):
            return result
        if isinstance(result, DeadlineExceeded):
            return result  # it says how busy the server is, and nothing of the model
        counts = self.slot.generation.counts
        counts.live_images += 1
        counts.live_errors += 1
        if isinstance(result, DermServeError):
            return result
        logger.error("A forward failed", exc_info=result, extra={"request_id": work.request_id})
        return DermServeError("The model failed on this image. The server's log says why.")

    def _follow(self) -> None:
        """Do what the slot's new generation takes."""
        generation = self.slot.generation
        self._model_metrics.start()
        if self._lanes is None and generation.serving is not None:
            # Kept for life: a second one would run beside the first during a swap.
            engine = generation.serving.engine
            self._lanes = LateBatcher(
                self._run,
                max_batch=min(engine.max_piece, self._settings.max_batch_size),
                lanes=engine.info.lanes,
            )
        self._follow_with_shadow(generation)
        self._changed()

    def _follow_with_shadow(self, generation: Generation) -> None:
        standby = generation.standby if generation.shadow_share else None
        if self._shadow is not None:
            if standby is not None and self._shadow.counts is generation.counts:
                return
            self._shadow.close()
            self._shadow = None
        if standby is not None:
            self._shadow = Shadow(
                partial(load_engine, standby.package, self._settings, threads=1),
                share=generation.shadow_share,
                counts=generation.counts,
                lull=self._lull,
                failed=self.slot.drop_standby,
            )

    def _lull(self) -> int | None:
        """See `Shadow`."""
        live = self._begun != self._ended or (self._lanes is not None and self._lanes.waiting)
        return None if live else self._begun
