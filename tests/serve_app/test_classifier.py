"""The classifier's shell without Ray: what it takes, and that no configuration raises."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import DeadlineExceeded, MalformedRequest
from models.package import ModelPackage
from models.preprocessing import IMAGE_SIZE
from serve_app.classification import Classification
from serve_app.classifier import Classifier
from serve_app.message import Message
from serve_app.settings import ServeSettings
from serve_app.shared_memory import Place
from serve_app.stage import NOT_SHARED
from serve_app.work import Work
from tests.serve_app.models import copy_of

PATIENCE_S = 60.0
IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3


@pytest.fixture
async def classifier() -> AsyncIterator[Classifier]:
    classifier = Classifier(ServeSettings(engine="openvino", threads=1))
    yield classifier
    await classifier._device.close()


async def test_it_is_not_ready_before_a_model_is_there(classifier: Classifier) -> None:
    assert await classifier.status() == {"status": "not_ready", "reason": "The model is loading."}


async def test_the_first_configuration_waits_for_the_model(
    classifier: Classifier, champion: ModelPackage
) -> None:
    await classifier.reconfigure({"model": str(champion.folder)})
    status = await classifier.status()
    assert (status["status"], status["model"]["version"]) == ("ok", champion.manifest.version)
    assert status["engine"]["name"] == "openvino"


async def test_later_ones_return_at_once(
    classifier: Classifier, champion: ModelPackage, tmp_path: Path
) -> None:
    await classifier.reconfigure({"model": str(champion.folder)})
    second = copy_of(champion, tmp_path / "second", "second")
    await classifier.reconfigure(
        {"model": str(champion.folder), "standby": str(second.folder), "generation": 5}
    )
    assert (await classifier.status())["generation"] == 0

    async def standby() -> dict[str, Any]:
        while (status := await classifier.status())["standby"] is None:
            await asyncio.sleep(0.001)
        return status

    status = await asyncio.wait_for(standby(), PATIENCE_S)
    assert (status["generation"], status["standby"]) == (5, "second")
    assert (status["load_error"], status["standby_error"]) == (None, None)


@pytest.mark.parametrize(
    "wish",
    [None, [], {"model": 7}, {"model": "/nowhere"}, {"model": "\x00"}, {"shadow_share": math.nan}],
    ids=str,
)
async def test_no_configuration_raises(
    classifier: Classifier, champion: ModelPackage, wish: Any
) -> None:
    await classifier.reconfigure(wish)
    status = await classifier.status()
    assert status["status"] == "not_ready"
    assert status["reason"] not in ("", "The model is loading.")
    await classifier.reconfigure({"model": str(champion.folder)})


@pytest.mark.parametrize("shape", [(224, 224), (64, 64, 3), (0,), (224, 224, 4)], ids=str)
async def test_another_shape_is_refused(classifier: Classifier, shape: tuple[int, ...]) -> None:
    works = [Work(np.zeros(shape, np.uint8))] * 2
    refused = await classifier.receive(Message.by_value(works))
    assert [type(one) for one in refused] == [MalformedRequest] * 2


async def test_another_type_is_refused(classifier: Classifier) -> None:
    image = Work(np.zeros((224, 224, 3), np.float32))
    (refused,) = await classifier.receive(Message.by_value([image]))
    assert isinstance(refused, MalformedRequest)
    assert "float32" in refused.message


async def test_memory_that_cannot_be_read_is_said(classifier: Classifier) -> None:
    elsewhere = Place("another machine", pid=1, descriptor=0, inode=0)
    message = Message([IMAGE_BYTES], [0], [None], elsewhere)
    assert await classifier.receive(message) == NOT_SHARED


async def test_in_this_process_it_is_a_stage(
    classifier: Classifier, champion: ModelPackage, lesions: npt.NDArray[np.uint8]
) -> None:
    await classifier.reconfigure({"model": str(champion.folder)})
    answers = await classifier.classify([Work(image) for image in lesions])
    assert [type(answer) for answer in answers] == [Classification] * len(lesions)
    late = Work(lesions[0], deadline=time.monotonic() - 1)
    good, expired = await classifier.classify([Work(lesions[0]), late])
    assert isinstance(good, Classification)
    assert isinstance(expired, DeadlineExceeded)
