"""The watch: what it says before, while and after there are enough images, and of whom."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelUnavailable, NotFound
from models.package import DRIFT_FILE, ModelPackage
from models.registered_package import hash_of
from serve_app.metrics_schemas import Drift
from tests.models.packages import write_small_package
from tests.training.drift.packages import write_watched_package
from tests.training.drift.samples import sample_of
from training.drift.watch import DriftWatch
from training.settings import DriftSettings

SETTINGS = DriftSettings(window=120, minimum=60, span_s=60)


class Packages:
    """Finds packages, and counts how often it was asked."""

    def __init__(self, *packages: ModelPackage) -> None:
        self.by_hash = {hash_of(package): package for package in packages}
        self.asked = 0
        self.away = False

    def find(self, package_hash: str) -> ModelPackage:
        self.asked += 1
        if self.away:
            raise ModelUnavailable("The registry does not answer.")
        if package_hash not in self.by_hash:
            raise NotFound("There is no such version.")
        return self.by_hash[package_hash]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def one(folder: Path) -> ModelPackage:
    return write_watched_package(folder / "one", "1")


@pytest.fixture(scope="module")
def two(folder: Path) -> ModelPackage:
    return write_watched_package(folder / "two", "2")


@pytest.fixture
def packages(one: ModelPackage, two: ModelPackage) -> Packages:
    return Packages(one, two)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(packages: Packages, clock: Clock) -> DriftWatch:
    return DriftWatch(packages.find, SETTINGS, clock)


def _said(watch: DriftWatch) -> Drift:
    """What the API would say, through its schema and JSON."""
    return Drift.model_validate_json(json.dumps(watch.summary, allow_nan=False))


def test_before_anything_came(watch: DriftWatch) -> None:
    watch.step()
    said = _said(watch)
    assert (said.status, said.samples, said.version) == ("collecting", 0, None)
    assert said.reason == "No image has been classified since the watch began."


def test_too_few_images_are_not_assessed(watch: DriftWatch, one: ModelPackage) -> None:
    watch.take(sample_of(59, package_hash=hash_of(one)))
    watch.step()
    said = _said(watch)
    assert (said.status, said.version, said.samples) == ("collecting", "1", 59)
    assert said.reason == "59 images are not enough; 60 are."
    assert said.embedding is said.class_mix is said.performance is None


def test_enough_images_are_assessed(watch: DriftWatch, one: ModelPackage, clock: Clock) -> None:
    watch.take(sample_of(40, package_hash=hash_of(one), seed=1))
    watch.take(sample_of(40, package_hash=hash_of(one), seed=2))  # of another replica
    clock.now += 30
    watch.step()
    said = _said(watch)
    assert (said.status, said.reason, said.samples) == ("assessed", None, 80)
    assert said.embedding is not None
    assert said.embedding.p_value > 0.01
    assert said.class_mix is not None
    assert sum(said.class_mix.predicted.values()) == pytest.approx(1)
    assert sum(said.class_mix.expected.values()) == pytest.approx(1)
    assert said.performance is not None
    assert said.out_of_distribution == 0
    assert said.since is not None
    assert said.assessed is not None
    assert said.since < said.assessed


def test_it_computes_only_what_is_new(watch: DriftWatch, one: ModelPackage) -> None:
    watch.take(sample_of(80, package_hash=hash_of(one)))
    watch.step()
    first = _said(watch)
    watch.step()
    assert _said(watch).assessed == first.assessed
    watch.take(sample_of(1, package_hash=hash_of(one), seed=9))
    watch.step()
    assert _said(watch).assessed != first.assessed


def test_images_that_change_move_it(watch: DriftWatch, one: ModelPackage, clock: Clock) -> None:
    watch.take(sample_of(120, package_hash=hash_of(one)))
    watch.step()
    before = _said(watch)
    shifted = sample_of(120, package_hash=hash_of(one), seed=4)
    clock.now += 3600
    watch.take(replace(shifted, statistics=shifted.statistics + np.float16(0.5)))
    watch.step()
    after = _said(watch)
    assert before.embedding is not None
    assert after.embedding is not None
    assert after.embedding.p_value == 0.001 < before.embedding.p_value
    assert after.embedding.mmd > before.embedding.mmd


def test_another_version_begins_anew(
    watch: DriftWatch, one: ModelPackage, two: ModelPackage, packages: Packages
) -> None:
    watch.take(sample_of(100, package_hash=hash_of(one)))
    watch.step()
    watch.take(sample_of(10, package_hash=hash_of(two)))
    watch.step()
    said = _said(watch)
    assert (said.version, said.samples, said.status) == ("2", 10, "collecting")
    watch.take(sample_of(5, package_hash=hash_of(one)))  # back again
    watch.step()
    assert (_said(watch).version, _said(watch).samples) == ("1", 5)
    assert packages.asked == 3


def test_a_replica_that_lags_behind_does_not_disturb(
    watch: DriftWatch, one: ModelPackage, two: ModelPackage
) -> None:
    for seed in range(4):
        watch.take(sample_of(20, package_hash=hash_of(two), seed=seed))
        watch.take(sample_of(3, package_hash=hash_of(one), seed=seed))
        watch.step()
    assert (_said(watch).version, _said(watch).samples) == ("2", 80)


def test_the_old_leave_and_take_the_assessment_with_them(
    watch: DriftWatch, one: ModelPackage, clock: Clock
) -> None:
    watch.take(sample_of(100, package_hash=hash_of(one)))
    watch.step()
    assert _said(watch).status == "assessed"
    clock.now += SETTINGS.max_age_s + 1
    watch.step()
    said = _said(watch)
    assert (said.status, said.samples, said.since) == ("collecting", 0, None)
    assert said.embedding is None


def test_a_package_without_a_reference(tmp_path: Path, clock: Clock) -> None:
    old = ModelPackage.load(write_small_package(tmp_path / "old", "0"))
    watch = DriftWatch(Packages(old).find, SETTINGS, clock)
    watch.take(sample_of(100, package_hash=hash_of(old)))
    watch.step()
    said = _said(watch)
    assert (said.status, said.samples) == ("no_reference", 100)
    assert said.reason is not None
    assert DRIFT_FILE in said.reason


def test_a_model_that_is_not_in_the_registry(watch: DriftWatch) -> None:
    watch.take(sample_of(100, package_hash="f" * 64))
    watch.step()
    assert _said(watch).status == "no_reference"
    assert "not in the registry" in str(_said(watch).reason)


def test_a_damaged_reference(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    package = write_watched_package(tmp_path / "damaged", "1")
    (package.folder / DRIFT_FILE).write_bytes(b"damaged after it was verified")
    watch = DriftWatch(Packages(package).find, SETTINGS, clock)
    watch.take(sample_of(100, package_hash=hash_of(package)))
    with caplog.at_level(logging.ERROR, "ray.serve"):
        watch.step()
        watch.step()
    assert _said(watch).status == "no_reference"
    assert len(caplog.records) == 1


def test_a_registry_that_is_away_is_asked_again(
    watch: DriftWatch, one: ModelPackage, packages: Packages
) -> None:
    packages.away = True
    watch.take(sample_of(100, package_hash=hash_of(one)))
    with pytest.raises(ModelUnavailable):
        watch.step()
    assert _said(watch).status == "collecting"
    packages.away = False
    watch.step()
    assert (_said(watch).status, _said(watch).samples) == ("assessed", 100)


def test_a_replica_without_traffic_says_nothing(watch: DriftWatch) -> None:
    watch.take(sample_of(0, package_hash="f" * 64))
    watch.step()
    assert _said(watch).reason == "No image has been classified since the watch began."


def test_replicas_report_while_it_computes(watch: DriftWatch, one: ModelPackage) -> None:
    def report() -> None:
        for seed in range(50):
            watch.take(sample_of(4, package_hash=hash_of(one), seed=seed))

    threads = [threading.Thread(target=report) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch.step()
    watch.step()
    assert _said(watch).samples == SETTINGS.window
