"""A labelled upload: pictures with their labels, sent in requests that the server takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dashboard.image_files import ImageFile
from dermserve_client import Client, UploadResult
from dermserve_client.uploads import LabelSource

CHUNK_FILES = 32
CHUNK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Labelled:
    """A picture, what it is said to show, and of which lesion it is."""

    file: ImageFile
    label: str | None = None
    lesion_id: str | None = None


@dataclass(frozen=True)
class Told:
    """What became of one picture."""

    sent: Labelled
    result: UploadResult


def names_given_twice(names: Iterable[str]) -> list[str]:
    """Names of more than one file, which no table of labels can tell apart."""
    return [name for name, number in Counter(names).items() if number > 1]


def upload_all(
    client: Client,
    pictures: Iterable[Labelled],
    source: LabelSource,
) -> Iterator[Told]:
    """Send pictures chunk by chunk.

    Args:
        client: of the server.
        pictures: one after the other.
        source: how the labels were established.

    Yields:
        What became of each, in order; those that cannot be read are not sent.

    Raises:
        DermServeError: the server's. What was given before has been stored.
    """
    for chunk in _chunks(pictures):
        sent = [each for each in chunk if each.file.data is not None]
        results: Iterator[UploadResult] = iter(())
        if sent:
            answer = client.upload(
                [each.file.data for each in sent if each.file.data is not None],
                [each.label for each in sent],
                label_source=source if any(each.label for each in sent) else None,
                lesion_ids=[each.lesion_id for each in sent],
            )
            results = iter(answer.results)
        for each in chunk:
            if each.file.data is None:
                yield Told(
                    each, UploadResult(index=0, verdict="rejected", reason=each.file.problem)
                )
            else:
                yield Told(each, next(results))


def _chunks(pictures: Iterable[Labelled]) -> Iterator[list[Labelled]]:
    chunk: list[Labelled] = []
    size = 0
    for each in pictures:
        own = len(each.file.data or b"")
        if chunk and (len(chunk) == CHUNK_FILES or size + own > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += own
    if chunk:
        yield chunk
