"""The explainer without Ray: its queue, its thread, and which model it explains with."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from ray.serve import Application

from models.classes import CLASSES
from models.errors import (
    ModelUnavailable,
    Overloaded,
    TruncatedImage,
    UnknownClass,
    UnsupportedImage,
)
from models.log_records import REQUEST_FIELDS
from models.package import MANIFEST_FILE, WEIGHTS_FILE, ModelPackage
from serve_app.app import build
from serve_app.explainer import MAX_EXPLANATIONS, Explainer
from serve_app.explanation import ExplainedImage, ExplanationRequest, check_class
from serve_app.niceness import BESIDE
from serve_app.settings import ServeSettings
from tests.conftest import PROJECT


@pytest.fixture(scope="module", autouse=True)
def _threads_of_torch() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)  # the explainer takes one


@pytest.fixture
async def explainer() -> AsyncIterator[Explainer]:
    explainer = Explainer(ServeSettings())
    yield explainer
    explainer._pool.shutdown()


async def test_its_thread_knows_whose_request_it_is(
    explainer: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def decode(*args: object) -> None:
        seen.append(REQUEST_FIELDS.get().get("request_id"))
        raise UnsupportedImage("no image")

    monkeypatch.setattr("serve_app.explainer.decode_image", decode)
    token = REQUEST_FIELDS.set({"request_id": "mine-1"})
    (answer,) = await explainer.explain([ExplanationRequest(b"", None)])
    REQUEST_FIELDS.reset(token)
    assert isinstance(answer, UnsupportedImage)
    assert seen == ["mine-1"]


def _copy_of(package: ModelPackage, folder: Path, version: str) -> str:
    shutil.copytree(package.folder, folder)
    manifest = package.manifest.model_copy(update={"version": version})
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return str(folder)


async def _explain(
    explainer: Explainer, image: bytes, code: str | None = None
) -> ExplainedImage | Exception:
    (result,) = await explainer.explain([ExplanationRequest(image, code)])
    return result


async def _version(explainer: Explainer, image: bytes) -> str:
    result = await _explain(explainer, image)
    assert isinstance(result, ExplainedImage)
    return result.model_version


async def test_it_explains_with_the_champion(
    explainer: Explainer, champion: ModelPackage, jpeg: bytes
) -> None:
    result = await _explain(explainer, jpeg)
    assert isinstance(result, ExplainedImage)
    assert result.model_version == champion.manifest.version
    assert result.explained_class == result.predicted_class
    with Image.open(io.BytesIO(result.png)) as image:
        assert image.size == (448, 448)


async def test_each_request_has_its_own_answer(explainer: Explainer, jpeg: bytes) -> None:
    requests = [ExplanationRequest(jpeg, code) for code in CLASSES]
    results = await explainer.explain([*requests, ExplanationRequest(b"no image", None)])
    assert isinstance(results.pop(), UnsupportedImage)
    explained = [result for result in results if isinstance(result, ExplainedImage)]
    assert [result.explained_class for result in explained] == list(CLASSES)
    assert len({result.predicted_class for result in explained}) == 1
    assert len({result.png for result in explained}) > 1


async def test_an_image_that_is_none_needs_no_model(explainer: Explainer, jpeg: bytes) -> None:
    await explainer.reconfigure({"model": "/nowhere"})
    assert isinstance(await _explain(explainer, jpeg[:1000]), TruncatedImage)
    unavailable = await _explain(explainer, jpeg)
    assert isinstance(unavailable, ModelUnavailable)
    assert "dermserve train" in unavailable.message


@pytest.mark.parametrize(
    "wish", [{"model": "/nowhere"}, {"modle": "champion"}, {"model": 7}, {"model": ""}]
)
async def test_a_wrong_configuration_is_answered_and_mended(
    explainer: Explainer, jpeg: bytes, wish: dict[str, object]
) -> None:
    await explainer.reconfigure(wish)
    assert isinstance(await _explain(explainer, jpeg), ModelUnavailable)
    await explainer.reconfigure({"model": "champion"})
    assert isinstance(await _explain(explainer, jpeg), ExplainedImage)


async def test_a_package_of_broken_weights_is_no_mistake_of_the_image(
    explainer: Explainer, champion: ModelPackage, jpeg: bytes, tmp_path: Path
) -> None:
    folder = _copy_of(champion, tmp_path / "broken", "broken")
    Path(folder, WEIGHTS_FILE).write_bytes(b"not safetensors")
    await explainer.reconfigure({"model": folder})
    result = await _explain(explainer, jpeg)
    assert isinstance(result, ModelUnavailable)
    assert "altered or damaged" in result.message


async def test_the_newest_model_takes_over_and_a_broken_one_does_not(
    explainer: Explainer, champion: ModelPackage, jpeg: bytes, tmp_path: Path
) -> None:
    assert await _version(explainer, jpeg) == champion.manifest.version
    for version in ("second", "third"):
        folder = _copy_of(champion, tmp_path / version, version)
        await explainer.reconfigure({"model": folder})
    assert await _version(explainer, jpeg) == "third"
    await explainer.reconfigure({"model": "/nowhere"})
    assert await _version(explainer, jpeg) == "third"
    assert await _version(explainer, jpeg) == "third"
    await explainer.reconfigure({"model": "champion"})
    assert await _version(explainer, jpeg) == champion.manifest.version


async def test_the_same_model_under_another_configuration_is_not_loaded_again(
    explainer: Explainer, champion: ModelPackage, jpeg: bytes, tmp_path: Path
) -> None:
    await _version(explainer, jpeg)
    assert explainer._loaded is not None
    network = explainer._loaded.network
    rollout = {"model": "champion", "standby": "2-next", "shadow_share": 0.25, "generation": 7}
    await explainer.reconfigure(rollout)
    assert await _version(explainer, jpeg) == champion.manifest.version
    assert explainer._loaded.network is network
    folder = _copy_of(champion, tmp_path / "second", "second")
    await explainer.reconfigure({"model": folder, "generation": 7})
    assert await _version(explainer, jpeg) == "second"
    assert explainer._loaded.network is not network


async def test_the_loop_lives_on_and_too_many_are_refused(
    explainer: Explainer, jpeg: bytes
) -> None:
    release = threading.Event()
    busy = explainer._pool.submit(release.wait, 60)
    tasks = [asyncio.create_task(_explain(explainer, jpeg)) for _ in range(MAX_EXPLANATIONS)]
    await asyncio.sleep(0)  # each has entered
    refused = await _explain(explainer, jpeg)
    assert isinstance(refused, Overloaded)
    assert refused.retry_after_s
    assert not busy.done()
    # Callers who hang up give back their places, and nothing is done for them.
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    release.set()
    assert isinstance(await _explain(explainer, jpeg), ExplainedImage)
    assert explainer._in_progress == 0
    assert explainer._pool._work_queue.qsize() == 0


async def test_one_thread_that_lets_predictions_go_first(explainer: Explainer, jpeg: bytes) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    niceness = explainer._pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
    assert niceness == min(19, own + BESIDE)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
    await explainer.explain([ExplanationRequest(jpeg, None)] * 3)
    assert len(explainer._pool._threads) == 1
    # Torch counts by thread; it is the one that explains that matters.
    assert explainer._pool.submit(torch.get_num_threads).result() == 1


def test_torch_is_not_loaded_before_it_is_needed() -> None:
    """Neither by the explainer nor by the stages whose messages it shares."""
    code = (
        "import sys, serve_app.app; from serve_app.explainer import Explainer; "
        "from serve_app.settings import ServeSettings; Explainer(ServeSettings()); "
        "print({'torch', 'captum', 'matplotlib'} & sys.modules.keys())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip().endswith("set()")


@pytest.mark.parametrize("code", ["melanoma", "", "NV", "x" * 10_000, "nv\x00", 7])
def test_an_unknown_class_is_named_with_the_seven(code: str) -> None:
    with pytest.raises(UnknownClass) as raised:
        check_class(code)
    assert (raised.value.status, raised.value.code) == (422, "unknown_class")
    assert ", ".join(CLASSES) in raised.value.message
    assert len(raised.value.message) < 200


def test_the_seven_and_none_are_known() -> None:
    for code in (None, *CLASSES):
        check_class(code)


def test_the_replicas_leave_one_of_two_cpus_for_training() -> None:
    found: dict[str, float] = {}

    def add(application: Application) -> None:
        deployment = application._bound_deployment
        found[deployment.name] = deployment.ray_actor_options["num_cpus"]
        for argument in deployment.init_args:
            if isinstance(argument, Application):
                add(argument)

    add(build({}))
    assert "explainer" in found
    assert sum(found.values()) <= 1
