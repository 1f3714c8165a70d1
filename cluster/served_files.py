"""Served files: pictures sent to a server in requests that it takes, each answered for itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cluster.image_paths import UnreadableFile, read_image_file
from cluster.predicted_file import PredictedFile
from dermserve_client import BatchItem, Client, DeadlineExceeded, ServerMistake, TooLarge
from dermserve_client.predictions import CHUNK_BYTES, Priority

# What one picture of a request may be the reason of: the halves are asked for by themselves.
_ONE_OF_THEM = (TooLarge, DeadlineExceeded, ServerMistake)

Read = tuple[str, bytes | UnreadableFile]


def read_chunks(files: Iterable[str], most: int) -> Iterator[list[Read]]:
    """Files with their contents, in groups for one request each.

    Args:
        files: read as their turn comes.
        most: files in a group, whose bytes are 64 MiB at most if it is not one file alone.
    """
    chunk: list[Read] = []
    size = 0
    for file in files:
        data = read(file)
        own = len(data) if isinstance(data, bytes) else 0
        if chunk and (len(chunk) == most or size + own > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((file, data))
        size += own
    if chunk:
        yield chunk


def read(file: str) -> bytes | UnreadableFile:
    """A file's bytes, or why there are none."""
    try:
        return read_image_file(file)
    except UnreadableFile as error:
        return error


def ask(client: Client, chunk: Sequence[Read], priority: Priority) -> list[PredictedFile]:
    """A result for each file of a group, in order.

    Raises:
        DermServeError: the client's, if no part of the request would be answered either.
    """
    ready = [data for _, data in chunk if isinstance(data, bytes)]
    answers = iter(_ask(client, ready, priority))
    return [
        _result(name, next(answers))
        if isinstance(data, bytes)
        else PredictedFile(name, None, data.code, data.message)
        for name, data in chunk
    ]


def _ask(client: Client, images: Sequence[bytes], priority: Priority) -> list[BatchItem]:
    if not images:
        return []
    try:
        return list(client.predict_batch(images, priority=priority, chunk_images=len(images)))
    except _ONE_OF_THEM as error:
        if len(images) == 1:
            return [BatchItem(0, "", error=error)]
        half = len(images) // 2
        return [
            *_ask(client, images[:half], priority),
            *_ask(client, images[half:], priority),
        ]


def _result(name: str, item: BatchItem) -> PredictedFile:
    if item.error is None:
        return PredictedFile(name, item.prediction)
    return PredictedFile(name, None, item.error.code, item.error.message)
