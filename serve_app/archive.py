"""The archive: uploads and the review queue, kept by a deployment beside the chain."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle

from data.catalogue.database import Database
from data.catalogue.uploads import Uploads
from data.image_store import ImageStore
from data.known_images import KnownImages
from models.errors import MISTAKE, DermServeError
from models.log_records import write_log_records
from serve_app.archive_metrics import ArchiveMetrics
from serve_app.archivist import Archivist, Taken
from serve_app.call import call
from serve_app.caretaker import Caretaker
from serve_app.hop import failure
from serve_app.message import Message
from serve_app.niceness import UPLOADS
from serve_app.settings import ServeSettings
from serve_app.upload import NewImage, StoredImage, Verdict
from serve_app.work import Priority, Work

logger = logging.getLogger("ray.serve")

MAX_CALLS = 32
"""In progress in one replica; each of them holds one chunk of an upload at most."""

SCORE_TIMEOUT_S = 5.0
"""Longest wait for the model's view of a chunk; an upload is worth more than that view."""

_CATALOGUE_THREADS = 4

CLASSIFIER = "classifier"
"""The deployment that a configuration names the model for; colocated, it is the whole chain."""

Answer = TypeVar("Answer")


class Archive:
    """One replica: threads for pixels, others for the catalogue, which must not wait for them.

    Each method gives an error back as a value (docs/decisions/0004); `Archivist` says which.

    Args:
        preprocessor: handle of the chain, which says how uncertain the model is of an image;
            None where the chain is one deployment, in front of this one (`colocated`).
        settings: of the application.
    """

    def __init__(self, preprocessor: DeploymentHandle[Any] | None, settings: ServeSettings) -> None:
        write_log_records()
        self._chain = preprocessor
        self._metrics = ArchiveMetrics()
        database, store = Database(), ImageStore()
        known = KnownImages.load()
        self._archivist = Archivist(Uploads(database), store, known, settings.image_limits)
        Caretaker(self._archivist, database, store, settings.retention_days).start()
        self._pixels = ThreadPoolExecutor(
            settings.effective_threads, "pixels", initializer=os.nice, initargs=(UPLOADS,)
        )
        self._catalogue = ThreadPoolExecutor(_CATALOGUE_THREADS, "catalogue")

    async def add(self, images: list[NewImage], actor: str) -> list[Verdict | DermServeError]:
        """Take images in; of those that get no verdict, no image stays behind.

        Returns:
            For each, in order, its verdict, or the error of the server that prevented one.
        """
        takes = [_submit(self._pixels, self._archivist.take, image) for image in images]
        whole = False
        try:
            taken = await asyncio.gather(*map(self._answer, takes))
            waiting = [one for one in taken if isinstance(one, Taken)]
            entered = await self._enter(waiting, actor)
            whole = not any(isinstance(one, DermServeError) for one in entered)
        finally:
            if not whole:  # the catalogue has failed, or the caller has left
                for take in takes:
                    if not take.cancel():
                        take.add_done_callback(self._discard)
        verdicts = iter(entered)
        return [next(verdicts) if isinstance(one, Taken) else one for one in taken]

    async def page(self, filters: dict[str, Any]) -> dict[str, Any] | DermServeError:
        """Uploads that match."""
        return await self._run(self._catalogue, self._archivist.page, filters)

    async def summary(self) -> dict[str, Any] | DermServeError:
        """What the uploads are like."""
        return await self._run(self._catalogue, self._archivist.summary)

    async def get(self, upload_id: str) -> dict[str, Any] | DermServeError:
        """One upload."""
        return await self._run(self._catalogue, self._archivist.get, upload_id)

    async def image(self, upload_id: str) -> StoredImage | DermServeError:
        """The clean bytes of one upload."""
        return await self._run(self._catalogue, self._archivist.image, upload_id)

    async def change(
        self, upload_id: str, values: dict[str, Any], actor: str
    ) -> dict[str, Any] | DermServeError:
        """Change what is said of one upload."""
        return await self._run(self._catalogue, self._archivist.change, upload_id, values, actor)

    async def delete(self, upload_id: str, actor: str) -> dict[str, Any] | DermServeError:
        """Remove one upload."""
        return await self._run(self._catalogue, self._archivist.delete, upload_id, actor)

    async def _enter(self, waiting: list[Taken], actor: str) -> list[Verdict | DermServeError]:
        """Enter images into the catalogue, in order, which is that of their duplicates too."""
        answers = await self._score([one.sent.data for one in waiting])
        verdicts: list[Verdict | DermServeError] = []
        for one, answer in zip(waiting, answers, strict=True):
            verdict = await self._run(
                self._catalogue, self._archivist.catalogue, one, answer, actor
            )
            if isinstance(verdict, DermServeError):
                # The others would wait as long for the same.
                return [*verdicts, *[verdict] * (len(waiting) - len(verdicts))]
            verdicts.append(verdict)
        return verdicts

    async def _score(self, images: list[bytes]) -> list[Any]:
        """What the model says of each image: a classification, an error or nothing."""
        if not images:
            return []
        try:
            chain = self._chain = self._chain or await _find_chain()
            deadline = time.monotonic() + SCORE_TIMEOUT_S
            answers: list[Any] = await call(
                chain,
                "receive",
                Message.by_value([Work(image, Priority.BULK, deadline) for image in images]),
                timeout_s=SCORE_TIMEOUT_S,
            )
        except DermServeError as error:
            logger.warning("%d uploads come without uncertainty: %s", len(images), error.message)
            return [None] * len(images)
        return answers

    def _discard(self, take: Future[Taken | Verdict]) -> None:
        """Have an image removed that was stored, unless its upload was entered all the same."""
        if take.exception() is None and isinstance(taken := take.result(), Taken):
            self._catalogue.submit(self._archivist.discard, taken.new.image_key)

    async def _run(
        self, pool: ThreadPoolExecutor, work: Callable[..., Answer], *args: Any
    ) -> Answer | DermServeError:
        return await self._answer(_submit(pool, work, *args))

    async def _answer(self, work: Future[Answer]) -> Answer | DermServeError:
        """What a thread returns; errors become values."""
        try:
            return await asyncio.wrap_future(work)
        except DermServeError as error:
            self._metrics.count_error(error)
            return error
        except Exception:
            logger.exception("The archive made a mistake")
            mistake = DermServeError(MISTAKE)
            self._metrics.count_error(mistake)
            return mistake


def _submit(pool: ThreadPoolExecutor, work: Callable[..., Answer], *args: Any) -> Future[Answer]:
    """Have a thread work for the request that is answered, whose id its log lines say."""
    return pool.submit(copy_context().run, work, *args)


async def _find_chain() -> DeploymentHandle[Any]:
    """The handle of the chain in front; raises a `DermServeError` if Serve does not give it."""
    lookup = asyncio.to_thread(serve.get_deployment_handle, CLASSIFIER)
    try:
        # It blocks until Serve's controller answers.
        return await asyncio.wait_for(lookup, SCORE_TIMEOUT_S)
    except Exception as error:
        raise failure(error) from error
