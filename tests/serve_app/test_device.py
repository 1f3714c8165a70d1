"""A replica without Ray: real packages and engines, swapped and shadowed under load."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import torch
from safetensors.torch import save_file

from models.architecture import load_classifier
from models.classes import CLASSES
from models.errors import DeadlineExceeded, InvalidPackage, ModelUnavailable
from models.export import export_openvino
from models.package import (
    GRAPH_FILE,
    GRAPH_WEIGHTS_FILE,
    REFERENCE_FILE,
    WEIGHTS_FILE,
    ModelPackage,
    sha256_of,
)
from models.reference import Reference
from models.registered_package import hash_of
from models.replica_report import ReplicaReport
from serve_app import device
from serve_app.classification import Classification
from serve_app.device import Device
from serve_app.engines.base import Images, Outputs
from serve_app.generation import Generation
from serve_app.loaded_model import LoadedModel, load_engine
from serve_app.settings import ServeSettings
from serve_app.work import Work
from tests.models.packages import edit_manifest
from tests.serve_app.models import FixedEngine, copy_of

PATIENCE_S = 60.0
SETTINGS = ServeSettings(engine="openvino", threads=2)

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def second(champion: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """The champion under another version: it says the same."""
    return copy_of(champion, tmp_path_factory.mktemp("packages") / "second", "second")


@pytest.fixture(scope="module")
def contrary(champion: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """The champion with its classes moved on by one: it says another class of every image."""
    folder = copy_of(champion, tmp_path_factory.mktemp("packages") / "contrary", "contrary").folder
    network = load_classifier(champion.file(WEIGHTS_FILE))
    with torch.no_grad():
        for parameter in network.classifier.parameters():
            parameter.copy_(parameter.roll(1, dims=0))
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    export_openvino(network, folder / GRAPH_FILE)
    return with_files(folder, WEIGHTS_FILE, GRAPH_FILE, GRAPH_WEIGHTS_FILE)


def with_files(folder: Path, *names: str) -> ModelPackage:
    """A package some of whose files are new."""
    new = {name: sha256_of(folder / name) for name in names}
    edit_manifest(folder, lambda manifest: manifest["files"].update(new))
    return ModelPackage.load(folder)


def works(images: Pixels) -> list[Work[Pixels]]:
    """Each image as work without a deadline."""
    return [Work(image) for image in images]


class Replica:
    """A device, what it reports, and a wait for that."""

    def __init__(self) -> None:
        self.changes = 0
        self.device = Device(SETTINGS, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    @property
    def generation(self) -> Generation:
        return self.device.slot.generation

    def set_out(self, package: ModelPackage, **more: object) -> None:
        if isinstance(standby := more.get("standby"), ModelPackage):
            more["standby"] = str(standby.folder)
        self.wish({"model": str(package.folder), **more})

    def wish(self, user_config: object) -> None:
        self.device.slot.wish(user_config)

    async def swap_to(self, package: ModelPackage, **more: object) -> ReplicaReport:
        """Set out for a model, and wait until it and its standby are there."""
        self.set_out(package, **more)
        standby = more.get("standby")
        return await self.until(
            lambda now: (
                now.version == package.manifest.version
                and now.generation == more.get("generation", 0)
                and (
                    not isinstance(standby, ModelPackage) or now.standby == standby.manifest.version
                )
            )
        )

    def report(self) -> ReplicaReport:
        return self.generation.report("replica")

    async def until(self, condition: Callable[[ReplicaReport], object]) -> ReplicaReport:
        async def wait() -> ReplicaReport:
            while not condition(self.report()):
                await asyncio.sleep(0.001)
            return self.report()

        return await asyncio.wait_for(wait(), PATIENCE_S)

    async def answers(self, images: Pixels) -> list[Classification]:
        results = await self.device.classify(works(images))
        assert all(isinstance(result, Classification) for result in results), results
        return results  # type: ignore[return-value]


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    replica = Replica()
    yield replica
    await replica.device.close()
    await asyncio.to_thread(replica.device.slot._thread.shutdown)


@pytest.fixture(scope="module")
def said(
    champion: ModelPackage, second: ModelPackage, contrary: ModelPackage, lesions: Pixels
) -> dict[str, list[str]]:
    """The class that each version says of each lesion."""
    return {
        package.manifest.version: [
            decision.predicted_class
            for decision in LoadedModel.load(package, SETTINGS).forward(list(lesions))
        ]
        for package in (champion, second, contrary)
    }


async def test_ten_swaps_under_load_lose_no_image(
    replica: Replica,
    champion: ModelPackage,
    contrary: ModelPackage,
    lesions: Pixels,
    said: dict[str, list[str]],
) -> None:
    await replica.swap_to(champion)
    answered: dict[str, int] = {}
    done = asyncio.Event()

    async def client(number: int) -> None:
        which = [number % len(lesions), (number + 3) % len(lesions)]
        while not done.is_set():
            for index, answer in zip(which, await replica.answers(lesions[which]), strict=True):
                version = answer.model.version
                assert answer.decision.predicted_class == said[version][index]
                answered[version] = answered.get(version, 0) + 1

    clients = [asyncio.ensure_future(client(number)) for number in range(16)]
    for number in range(1, 11):
        package = contrary if number % 2 else champion
        await replica.swap_to(package, generation=number)
        counts = replica.generation.counts
        await replica.until(lambda now, counts=counts: counts.live_images >= 32)
    done.set()
    await asyncio.gather(*clients)
    assert min(answered[champion.manifest.version], answered["contrary"]) >= 5 * 32
    assert replica.report().live_errors == 0


async def test_what_it_answers_is_sampled_once_and_for_the_model_that_answered(
    replica: Replica, champion: ModelPackage, contrary: ModelPackage, lesions: Pixels
) -> None:
    await replica.swap_to(champion)
    assert replica.report().sample is not None
    await replica.answers(lesions)
    known = LoadedModel.load(champion, SETTINGS).engine.forward(list(lesions))
    sample = replica.report().sample
    assert sample is not None
    assert (sample.package_hash, sample.images) == (hash_of(champion), len(lesions))
    order, theirs = np.argsort(sample.logits[:, 0]), np.argsort(known.logits[:, 0])
    np.testing.assert_allclose(sample.logits[order], known.logits[theirs], atol=0.05)
    np.testing.assert_allclose(sample.statistics[order], known.statistics[theirs], atol=0.05)
    again = replica.report().sample
    assert again is not None
    assert (again.images, len(again)) == (0, 0)
    await replica.answers(lesions)
    await replica.swap_to(contrary)
    swapped = replica.report().sample
    assert swapped is not None
    assert (swapped.package_hash, swapped.images) == (hash_of(contrary), 0)


async def test_a_switch_to_the_standby_and_back_loads_nothing(
    replica: Replica, champion: ModelPackage, contrary: ModelPackage, lesions: Pixels
) -> None:
    await replica.swap_to(champion, standby=contrary, generation=1)
    before = replica.generation
    assert (await replica.answers(lesions))[0].model.version == champion.manifest.version
    await replica.swap_to(contrary, standby=champion, generation=2)
    assert (await replica.answers(lesions))[0].model.version == "contrary"
    after = replica.generation
    assert (after.serving, after.standby) == (before.standby, before.serving)
    await replica.swap_to(champion, standby=contrary, generation=3)
    assert (await replica.answers(lesions))[0].model.version == champion.manifest.version


async def test_memory_does_not_grow_with_swaps(
    replica: Replica, champion: ModelPackage, contrary: ModelPackage, lesions: Pixels
) -> None:
    process = psutil.Process()
    engines = []

    async def swap(number: int) -> int:
        package, standby = (champion, contrary)[:: 1 if number % 2 else -1]
        await replica.swap_to(package, generation=2 * number)
        await replica.swap_to(package, standby=standby, shadow_share=1.0, generation=2 * number + 1)
        await replica.answers(lesions)
        await replica.until(lambda now: now.shadow_images == len(lesions))
        engines.append(weakref.ref(replica.generation.serving))
        return process.memory_info().rss

    settled = [await swap(number) for number in range(4)][-1]
    grown = [await swap(number) for number in range(4, 14)][-1] - settled
    await replica.swap_to(champion, generation=100)
    await asyncio.wrap_future(replica.device.slot._thread.submit(gc.collect))
    assert sum(engine() is not None for engine in engines) <= 1
    # One model takes 30 to 50 MB; ten that were kept would be 300 at least.
    assert grown < 100e6


async def test_a_standby_that_agrees(
    replica: Replica, champion: ModelPackage, second: ModelPackage, lesions: Pixels
) -> None:
    await replica.swap_to(champion, standby=second, shadow_share=1.0, generation=4)
    for _ in range(5):
        await replica.answers(lesions)
    report = await replica.until(lambda now: now.shadow_images + now.dropped == 35)
    assert report.live_images == 35
    assert (report.disagreements, report.dropped, report.live_errors) == (0, 0, 0)
    assert report.live_forward_s > 0
    assert report.standby_error is None


async def test_a_standby_that_disagrees_on_a_share(
    replica: Replica, champion: ModelPackage, contrary: ModelPackage, lesions: Pixels
) -> None:
    await replica.swap_to(champion, standby=contrary, shadow_share=0.5, generation=4)
    for _ in range(4):
        await replica.answers(lesions)
    report = await replica.until(lambda now: now.shadow_images == 14)
    assert report.live_images == 28
    assert report.disagreements == 14
    assert report.shadow_forward_s > 0


async def test_each_generation_is_shadowed_by_its_own_standby(
    replica: Replica,
    champion: ModelPackage,
    second: ModelPackage,
    contrary: ModelPackage,
    lesions: Pixels,
) -> None:
    disagreements = []
    for number, standby in enumerate((second, contrary, second)):
        await replica.swap_to(champion, standby=standby, shadow_share=1.0, generation=number)
        await replica.answers(lesions)
        report = await replica.until(lambda now: now.shadow_images == len(lesions))
        disagreements.append(report.disagreements)
    assert disagreements == [0, len(lesions), 0]


async def test_a_share_of_nothing_shadows_nothing(
    replica: Replica, champion: ModelPackage, second: ModelPackage, lesions: Pixels
) -> None:
    await replica.swap_to(champion, standby=second, shadow_share=0.0, generation=1)
    assert replica.device._shadow is None
    await replica.swap_to(champion, standby=second, shadow_share=0.5, generation=2)
    assert replica.device._shadow is not None
    await replica.swap_to(champion, shadow_share=0.5, generation=3)
    assert replica.device._shadow is None
    await replica.answers(lesions)
    assert replica.report().shadow_images == 0


async def test_a_wrong_wish_leaves_the_shadow_at_work(
    replica: Replica, champion: ModelPackage, second: ModelPackage, lesions: Pixels
) -> None:
    await replica.swap_to(champion, standby=second, shadow_share=1.0, generation=1)
    shadow = replica.device._shadow
    replica.wish({"shadow_share": math.nan})
    await replica.until(lambda now: now.load_error)
    assert replica.device._shadow is shadow
    await replica.answers(lesions)
    await replica.until(lambda now: now.shadow_images == len(lesions))


async def test_a_standby_that_fails_is_dropped_and_costs_no_live_image(
    replica: Replica,
    champion: ModelPackage,
    second: ModelPackage,
    lesions: Pixels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(FixedEngine):
        def forward(self, images: Images) -> Outputs:
            raise RuntimeError("no such kernel")

    monkeypatch.setattr(device, "load_engine", lambda *_, **__: Broken())
    await replica.swap_to(champion, standby=second, shadow_share=1.0, generation=1)
    await replica.answers(lesions)
    report = await replica.until(lambda now: now.standby_error)
    assert report.standby_error == "The standby failed. The log of the classifier says how."
    assert (report.standby, report.version) == (None, champion.manifest.version)
    assert (report.shadow_images, report.dropped) == (0, len(lesions))
    assert replica.device._shadow is None
    await replica.answers(lesions)
    assert replica.report().live_errors == 0
    monkeypatch.undo()
    await replica.swap_to(champion, standby=second, shadow_share=1.0, generation=2)
    assert replica.report().standby_error is None
    await replica.answers(lesions)
    await replica.until(lambda now: now.shadow_images == len(lesions))


@pytest.mark.parametrize(
    "wish",
    [None, [], {"model": 7}, {"model": "/nowhere"}, {"model": "\x00"}, {"shadow_share": math.nan}],
    ids=str,
)
async def test_a_wrong_configuration_answers_and_a_good_one_mends(
    replica: Replica, champion: ModelPackage, lesions: Pixels, wish: Any
) -> None:
    replica.wish(wish)
    await replica.device.slot.decided.wait()
    report = replica.report()
    (first, *_) = await replica.device.classify(works(lesions))
    assert isinstance(first, ModelUnavailable)
    assert report.load_error
    assert report.load_error in first.message
    assert (replica.report().live_images, replica.report().live_errors) == (7, 7)
    await replica.swap_to(champion)
    await replica.answers(lesions)
    replica.wish(wish)
    await replica.until(lambda now: now.load_error)
    await replica.answers(lesions)


async def test_every_change_is_told(
    replica: Replica, champion: ModelPackage, second: ModelPackage
) -> None:
    await replica.swap_to(champion, standby=second)
    assert replica.changes == 2
    replica.wish({"model": "/nowhere"})
    await replica.until(lambda now: now.load_error)
    assert replica.changes == 3


async def test_an_image_that_fails_is_counted_and_its_neighbours_are_not(
    replica: Replica, champion: ModelPackage, lesions: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.swap_to(champion)
    before = LoadedModel.forward

    def forward(model: LoadedModel, batch: list[Pixels], *others: Any) -> Any:
        if any((image == 77).all() for image in batch):
            raise RuntimeError("a kernel failed")
        return before(model, batch, *others)

    monkeypatch.setattr(LoadedModel, "forward", forward)
    images = lesions.copy()
    images[2] = 77
    results = await replica.device.classify(works(images))
    failed = [not isinstance(result, Classification) for result in results]
    assert failed == [index == 2 for index in range(len(lesions))]
    report = replica.report()
    assert (report.live_images, report.live_errors) == (len(lesions), 1)
    # Nothing counts as running for ever, or the shadow would wait for ever.
    assert replica.device._lull() is not None


async def test_a_package_must_agree_with_its_own_reference(
    replica: Replica,
    champion: ModelPackage,
    contrary: ModelPackage,
    lesions: Pixels,
    tmp_path: Path,
) -> None:
    def with_reference(name: str, logits: npt.NDArray[np.float32]) -> ModelPackage:
        folder = copy_of(champion, tmp_path / name, name).folder
        Reference(lesions, logits).save(folder / REFERENCE_FILE)
        return with_files(folder, REFERENCE_FILE)

    network = load_classifier(champion.file(WEIGHTS_FILE))
    with torch.inference_mode():
        exact = network(torch.from_numpy(lesions).permute(0, 3, 1, 2)).numpy()
    await replica.swap_to(with_reference("honest", exact))
    wrong = with_reference("wrong", np.roll(exact, 1, axis=1))
    with pytest.raises(InvalidPackage, match="self-test failed"):
        load_engine(wrong, SETTINGS, threads=1)
    replica.set_out(wrong, generation=2)
    report = await replica.until(lambda now: now.load_error)
    assert "fails its self-test" in (report.load_error or "")
    assert report.version == "honest"
    assert len(await replica.answers(lesions)) == len(CLASSES)


async def test_what_comes_too_late_is_no_error_of_the_model(
    replica: Replica, champion: ModelPackage, lesions: Pixels
) -> None:
    await replica.swap_to(champion)
    late = [Work(image, deadline=time.monotonic() - 1) for image in lesions]
    assert {type(one) for one in await replica.device.classify(late)} == {DeadlineExceeded}
    assert (replica.report().live_images, replica.report().live_errors) == (0, 0)
