"""The preprocessing stage without Ray: real decoding in front of a real classifier."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.errors import (
    DeadlineExceeded,
    MalformedRequest,
    ModelUnavailable,
    TruncatedImage,
    UnsupportedImage,
)
from models.package import ModelPackage
from models.preprocessing import decode_image
from serve_app.classification import Classification
from serve_app.classifier import Classifier
from serve_app.message import Message, Pixels
from serve_app.preprocessing import PIECE, Preprocessor
from serve_app.settings import ServeSettings
from serve_app.shared_memory import Place, SharedFile
from serve_app.stage import NOT_SHARED
from serve_app.work import Priority, Work
from tests.waiting import until

SETTINGS = ServeSettings(engine="openvino", threads=2)
IMAGES = [synthetic_jpeg(code, 3, 300, 225) for code in CLASSES]


class WatchedClassifier:
    """A classifier that remembers the calls of the stage before it."""

    def __init__(self) -> None:
        self.classifier = Classifier(SETTINGS)
        self.calls: list[list[Work[Pixels]]] = []

    @property
    def works(self) -> list[Work[Pixels]]:
        return [work for call in self.calls for work in call]

    async def classify(self, works: Sequence[Work[Pixels]]) -> list[Classification | Exception]:
        self.calls.append(list(works))
        return await self.classifier.classify(works)

    async def status(self) -> dict[str, Any]:
        return await self.classifier.status()


@pytest.fixture
async def classifier(champion: ModelPackage) -> AsyncIterator[WatchedClassifier]:
    watched = WatchedClassifier()
    await watched.classifier.reconfigure({"model": str(champion.folder)})
    yield watched
    await watched.classifier._device.close()


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(SETTINGS.effective_threads) as pool:
        yield pool


@pytest.fixture
def stage(classifier: WatchedClassifier, pool: ThreadPoolExecutor) -> Preprocessor:
    return Preprocessor(classifier, SETTINGS, pool)


def _answers(results: Any) -> list[Classification]:
    assert all(isinstance(result, Classification) for result in results), results
    return list(results)


async def test_each_image_has_its_own_answer_in_order(stage: Preprocessor) -> None:
    alone = [_answers(await stage.classify([Work(image)]))[0] for image in IMAGES]
    assert len({answer.decision.predicted_class for answer in alone}) > 3
    together = _answers(await stage.classify([Work(image) for image in IMAGES * 3]))
    for expected, answer in zip(alone * 3, together, strict=True):
        assert answer.decision.predicted_class == expected.decision.predicted_class
        assert answer.decision.probabilities == pytest.approx(
            expected.decision.probabilities, abs=0.01
        )
        assert answer.preprocessing_s > 0
        assert answer.forward_s > 0


@pytest.mark.parametrize("count", [1, PIECE, PIECE + 1, 3 * PIECE + 2])
async def test_images_go_on_in_pieces(
    stage: Preprocessor, classifier: WatchedClassifier, count: int
) -> None:
    _answers(await stage.classify([Work(IMAGES[0])] * count))
    sizes = sorted(map(len, classifier.calls), reverse=True)
    assert sizes == [PIECE] * (count // PIECE) + [count % PIECE] * (count % PIECE > 0)


async def test_a_bad_image_fails_alone_and_goes_no_further(
    stage: Preprocessor, classifier: WatchedClassifier
) -> None:
    bad = [b"hello", IMAGES[1][: len(IMAGES[1]) // 2]]
    sent = [bad[0], IMAGES[0], bad[1], IMAGES[2], IMAGES[4], bad[0]]
    results = await stage.classify([Work(image) for image in sent])
    assert [type(result) for result in results] == [
        UnsupportedImage,
        Classification,
        TruncatedImage,
        Classification,
        Classification,
        UnsupportedImage,
    ]
    assert len(classifier.works) == 3
    results = await stage.classify([Work(image) for image in bad])
    assert [type(result) for result in results] == [UnsupportedImage, TruncatedImage]
    assert len(classifier.works) == 3
    assert await stage.classify([]) == []


async def test_the_terms_go_on_with_the_image(
    stage: Preprocessor, classifier: WatchedClassifier
) -> None:
    deadline = time.monotonic() + 60
    sent = [
        Work(IMAGES[0], Priority.BULK, deadline),
        Work(b"hello", Priority.INTERACTIVE, deadline + 1),
        Work(IMAGES[1], Priority.INTERACTIVE, deadline + 2),
        Work(IMAGES[2], Priority.BULK),
    ]
    await stage.classify(sent)
    assert [(work.priority, work.deadline) for work in classifier.works] == [
        (work.priority, work.deadline) for work in (sent[0], sent[2], sent[3])
    ]
    for work in classifier.works:
        assert (work.payload.shape, work.payload.dtype) == ((224, 224, 3), "uint8")


async def test_what_comes_too_late_is_neither_decoded_nor_classified(
    stage: Preprocessor, classifier: WatchedClassifier
) -> None:
    passed = time.monotonic() - 1
    works = [Work(b"hello", deadline=passed), Work(IMAGES[0]), Work(IMAGES[1], deadline=passed)]
    results = await stage.classify(works)
    # Not UnsupportedImage: nobody has looked at the first.
    assert [type(result) for result in results] == [
        DeadlineExceeded,
        Classification,
        DeadlineExceeded,
    ]
    assert len(classifier.works) == 1
    counts = stage._decoder.counts
    assert (counts.taken, counts.expired) == (1, 2)


async def test_what_nobody_waits_for_is_not_decoded(
    stage: Preprocessor, classifier: WatchedClassifier, pool: ThreadPoolExecutor
) -> None:
    release = threading.Event()
    for _ in range(SETTINGS.effective_threads):
        pool.submit(release.wait, 60)
    staying = [
        asyncio.create_task(stage.classify([Work(IMAGES[0])]))
        for _ in range(SETTINGS.effective_threads)
    ]
    await asyncio.sleep(0)  # they have all lanes
    leaving = asyncio.create_task(stage.classify([Work(image) for image in IMAGES]))
    await until(lambda: stage._decoder.waiting >= len(IMAGES), "they do not wait")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert leaving.cancelled()
    release.set()
    for results in await asyncio.gather(*staying):
        _answers(results)
    assert len(classifier.works) == len(staying)
    assert stage._decoder.counts.cancelled == len(IMAGES)


async def test_images_in_memory_and_in_the_message_are_the_same(stage: Preprocessor) -> None:
    works = [Work(image) for image in IMAGES]
    by_value = _answers(await stage.receive(Message.by_value(works)))
    with closing(SharedFile()) as file:
        in_memory = _answers(await stage.receive(Message.in_memory(works, file)))
    for one, other in zip(by_value, in_memory, strict=True):
        assert one.decision.predicted_class == other.decision.predicted_class


async def test_pixels_pass_through_beside_encoded_images(stage: Preprocessor) -> None:
    pixels = [decode_image(image) for image in IMAGES]
    encoded = _answers(await stage.classify([Work(image) for image in IMAGES]))
    mixed = [image if index % 2 else pixels[index] for index, image in enumerate(IMAGES)]
    works = [Work(image) for image in mixed]
    together = [await stage.classify(works), await stage.receive(Message.by_value(works))]
    with closing(SharedFile()) as file:
        together.append(await stage.receive(Message.in_memory(works, file)))
    for results in together:
        for one, other in zip(encoded, _answers(results), strict=True):
            assert other.decision.probabilities == pytest.approx(
                one.decision.probabilities, abs=0.01
            )


async def test_what_is_to_be_pixels_and_is_not_goes_no_further(
    stage: Preprocessor, classifier: WatchedClassifier
) -> None:
    works: list[Work[Any]] = [Work(IMAGES[0]), Work(np.zeros((1, 2), np.uint8))]
    results = await stage.receive(Message.by_value(works))
    assert [type(result) for result in results] == [MalformedRequest] * 2
    assert classifier.calls == []


async def test_memory_that_cannot_be_read_is_said(
    stage: Preprocessor, classifier: WatchedClassifier
) -> None:
    elsewhere = Place("another machine", pid=1, descriptor=0, inode=0)
    assert await stage.receive(Message([9], [0], [None], elsewhere)) == NOT_SHARED
    assert classifier.calls == []


async def test_without_a_model_each_image_says_so(pool: ThreadPoolExecutor) -> None:
    watched = WatchedClassifier()
    stage = Preprocessor(watched, SETTINGS, pool)
    assert (await stage.status())["status"] == "not_ready"
    results = await stage.classify([Work(IMAGES[0]), Work(b"hello")])
    assert [type(result) for result in results] == [ModelUnavailable, UnsupportedImage]
    await watched.classifier._device.close()


async def test_its_status_is_the_classifiers(
    stage: Preprocessor, classifier: WatchedClassifier
) -> None:
    status = await stage.status()
    assert status == await classifier.status()
    assert status["status"] == "ok"
