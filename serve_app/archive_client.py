"""The archive's client: what the routes ask of the archive, from within an ingress replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.serve.handle import DeploymentHandle

from models.errors import DeadlineExceeded, DermServeError, Overloaded
from serve_app.body import read_file
from serve_app.call import call
from serve_app.settings import ServeSettings
from serve_app.upload import NewImage, Verdict
from serve_app.upload_form import UploadForm
from serve_app.upload_metrics import UploadMetrics

MAX_UPLOADS = 16
"""Uploads that one ingress replica reads or passes on at a time; their files wait on disk."""

_READS = frozenset({"get", "image", "page", "summary"})
"""Methods of the archive that change nothing."""

Chunk = dict[int, NewImage]
"""Files by their place in the form, as many as one message carries."""


class ArchiveClient:
    """Calls the archive, within the limits of the replica.

    Args:
        archive: handle of the deployment.
        settings: of the application.
    """

    def __init__(self, archive: DeploymentHandle[Any], settings: ServeSettings) -> None:
        self._archive = archive
        self._settings = settings
        self._uploads = 0
        self._metrics = UploadMetrics()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one upload.

        Raises:
            Overloaded: if there is none.
        """
        if self._uploads == MAX_UPLOADS:
            raise Overloaded(
                f"{MAX_UPLOADS} uploads are in progress, which is all the server takes. Send the "
                "request again in a second."
            )
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def ask(self, method: str, *args: Any) -> Any:
        """Call a method of the archive.

        Raises:
            DermServeError: the archive's, or of a call that failed or took too long.
        """
        return await call(
            self._archive,
            method,
            *args,
            timeout_s=self._settings.deadline_s,
            changes_nothing=method in _READS,
        )

    async def add(self, upload: UploadForm, actor: str, deadline: float) -> list[Verdict]:
        """Have the files of an upload taken in, chunk by chunk.

        Args:
            upload: what came.
            actor: who uploads, for the audit log.
            deadline: of the event loop's clock, in seconds.

        Returns:
            The verdict of each file, in order.

        Raises:
            DeadlineExceeded: if it is not done by then.
            DermServeError: if the server cannot store a file. What was stored before stays
                stored, and the message says how much that is at least: a chunk without an
                answer may be stored too.
        """
        verdicts: dict[int, Verdict] = {}
        loop = asyncio.get_running_loop()
        try:
            async for chunk in self._chunks(upload, verdicts):
                left_s = deadline - loop.time()
                if left_s <= 0:
                    raise DeadlineExceeded(
                        f"The upload took over {self._settings.deadline_s:g} s, sending it "
                        "included. Send fewer images at a time."
                    )
                images = list(chunk.values())
                answers = await call(self._archive, "add", images, actor, timeout_s=left_s)
                failed = _sort(zip(chunk, answers, strict=True), verdicts)
                if failed is not None:
                    raise failed
        except asyncio.CancelledError:  # the client has left; what it left undone is no failure
            self._metrics.count(verdicts.values(), len(verdicts))
            raise
        except DermServeError as error:
            self._metrics.count(verdicts.values(), len(upload.files))
            stored = sum(verdict.id is not None for verdict in verdicts.values())
            raise type(error)(
                f"{error.message} At least {stored} of {len(upload.files)} files were stored "
                "before that. Send the whole request again: those will be answered as duplicates."
            ) from error
        self._metrics.count(verdicts.values(), len(upload.files))
        return [verdicts[index] for index in range(len(upload.files))]

    async def _chunks(
        self, upload: UploadForm, verdicts: dict[int, Verdict]
    ) -> AsyncIterator[Chunk]:
        """The files that can be passed on; of others, the verdict is noted."""
        chunk: Chunk = {}
        size = 0
        for index, (file, label) in enumerate(zip(upload.files, upload.labels, strict=True)):
            if isinstance(label, DermServeError):
                verdicts[index] = Verdict("rejected", reason=label.message)
                continue
            data = (await read_file(file, self._settings.max_image_bytes)).data
            if isinstance(data, DermServeError):
                verdicts[index] = Verdict("rejected", reason=data.message)
                continue
            size += len(data)
            if len(chunk) == self._settings.max_batch_size or size > self._settings.max_hop_bytes:
                yield chunk
                chunk, size = {}, len(data)
            chunk[index] = NewImage(data, label, upload.uploader)
        if chunk:
            yield chunk


def _sort(
    answers: Iterable[tuple[int, Verdict | DermServeError]], verdicts: dict[int, Verdict]
) -> DermServeError | None:
    """Note the verdicts among the answers; the last of the errors, if there is one."""
    failed = None
    for index, answer in answers:
        if isinstance(answer, DermServeError):
            failed = answer
        else:
            verdicts[index] = answer
    return failed
