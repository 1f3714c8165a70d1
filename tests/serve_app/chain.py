"""The chain behind the HTTP API in one process: real decoding, engine and decision, no Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from models.decision import decide
from models.errors import DermServeError
from models.novelty import NoveltyDetector
from models.package import NOVELTY_FILE, ModelPackage
from models.preprocessing import decode_image
from serve_app import schemas
from serve_app.answers import prediction
from serve_app.classification import Classification, ServedModel
from serve_app.datapath import describe_data_path
from serve_app.engines import create_engine
from serve_app.message import Image, Message, is_pixels
from serve_app.open_inference.statistics import Statistics
from serve_app.settings import ServeSettings
from serve_app.shared_memory import SharedReader
from serve_app.work import Priority


class InProcessPreprocessor:
    """What the preprocessor and the classifier behind it answer, in this process."""

    def __init__(self, package: ModelPackage, settings: ServeSettings) -> None:
        self._package = package
        self.version = package.manifest.version
        self._limits = settings.image_limits
        self._engine = create_engine(package, "openvino")
        self._novelty = NoveltyDetector.load(package.file(NOVELTY_FILE))

    async def receive(self, message: Message) -> list[Classification | DermServeError]:
        return await self.classify([work.payload for work in message.images(SharedReader())])

    async def classify(self, images: Sequence[Image]) -> list[Classification | DermServeError]:
        return [await asyncio.to_thread(self._classify, image) for image in images]

    def _classify(self, image: Image) -> Classification | DermServeError:
        started = time.perf_counter()
        try:
            pixels = image if is_pixels(image) else decode_image(image, self._limits)
        except DermServeError as error:
            return error
        decoded = time.perf_counter()
        logits, statistics = self._engine.forward([pixels])
        return Classification(
            decision=decide(
                logits, self._novelty.score(statistics), self._package.manifest.decision
            )[0],
            model=ServedModel.of(self._package.manifest),
            forward_s=time.perf_counter() - decoded,
            preprocessing_s=decoded - started,
        )


class InProcessChain:
    """A `serve_app.service.Service`; with `error` set it raises that instead of answering."""

    def __init__(self, package: ModelPackage, settings: ServeSettings) -> None:
        self.preprocessor = InProcessPreprocessor(package, settings)
        self.statistics = Statistics()
        self.error: Exception | None = None
        self.asked: list[tuple[Priority, float | None]] = []
        """The priority and the timeout in seconds of each call."""

    def check_room(self, priority: Priority) -> None:
        """There always is."""

    async def predict(
        self, image: bytes, request_id: str, *, priority: Priority, timeout_s: float | None
    ) -> dict[str, Any]:
        (result,) = await self.classify([image], request_id, priority=priority, timeout_s=timeout_s)
        if isinstance(result, DermServeError):
            raise result
        return result

    async def classify(
        self,
        images: Sequence[Image],
        request_id: str,
        *,
        priority: Priority,
        timeout_s: float | None,
    ) -> list[dict[str, Any] | DermServeError]:
        self.asked.append((priority, timeout_s))
        if self.error is not None:
            raise self.error
        started = time.perf_counter()
        answers = await self.preprocessor.classify(images)
        total_s = time.perf_counter() - started
        self.statistics.observe(answers, total_s)
        return [
            prediction(answer, request_id=request_id, total_s=total_s)
            if isinstance(answer, Classification)
            else answer
            for answer in answers
        ]

    async def health(self) -> dict[str, Any]:
        return schemas.Health(
            status="not_ready" if self.error else "ok",
            reason=str(self.error) if self.error else None,
            uptime_s=1.0,
            model={"version": self.preprocessor.version},
            engine={"name": "openvino"},
            data_path=describe_data_path(),
        ).model_dump()
