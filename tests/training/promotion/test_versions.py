"""Versions on somebody's word: promotions, rollbacks and what stands in their way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from data.catalogue.audit import latest
from data.catalogue.database import Database
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from models.errors import (
    AlreadyChampion,
    GateRefused,
    ModelPinned,
    NotFound,
    PackageDamaged,
    RolloutActive,
)
from models.registry import Registry
from tests.training.promotion.replicas import InMemoryServe
from training.promotion import versions as versions_module
from training.promotion.reports import ReplicaReports
from training.promotion.rollout import RolloutDriver
from training.promotion.versions import Versions

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow


@pytest.fixture
def versions(
    registry: Registry,
    rollouts: Rollouts,
    database: Database,
    reports: ReplicaReports,
    serve: InMemoryServe,
) -> Versions:
    return Versions(registry, rollouts, Runs(database), reports, serve)


@contextmanager
def _driven(driver: RolloutDriver) -> Iterator[None]:
    """A trainer's loop at work while the block runs."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(0.01):
            driver.step()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_promotion_answers_when_every_replica_serves_it(
    versions: Versions, driver: RolloutDriver, registry: Registry
) -> None:
    with _driven(driver):
        rollout = versions.promote("2", "tester")
    assert rollout.state in ("observing", "completed")
    assert (rollout.kind, rollout.from_version, rollout.actor) == ("promotion", "1", "tester")
    assert registry.champion().version == "2"
    listed = versions.list()
    assert (listed["champion"], listed["previous"]) == ("2", "1")
    assert [(m["version"], m["replicas"]) for m in listed["models"]] == [
        ("1", 0),
        ("2", 2),
        ("3", 0),
    ]
    assert listed["rollouts"][0]["to_version"] == "2"
    assert "source" not in listed["models"][0], "paths are nobody's business"


def test_promotions_and_rollbacks_may_follow_each_other_at_once(
    versions: Versions, driver: RolloutDriver, registry: Registry, rollouts: Rollouts
) -> None:
    with _driven(driver):
        for step in ("2", "3", "back", "back", "3"):
            ended = (
                versions.rollback("tester") if step == "back" else versions.promote(step, "tester")
            )
            assert ended.state in ("observing", "completed")
    assert registry.champion().version == "3"
    assert registry.history() == ["1", "3"]
    assert {rollout.state for rollout in rollouts.history().items[1:]} == {"completed"}


def test_a_refused_version_needs_force(
    versions: Versions, driver: RolloutDriver, registry: Registry, database: Database
) -> None:
    registry.record_verdict("2", "refused", "It finds fewer melanomas.")
    with _driven(driver):
        with pytest.raises(GateRefused, match="fewer melanomas"):
            versions.promote("2", "tester")
        assert registry.champion().version == "1"
        assert versions.promote("2", "tester", force=True).to_version == "2"
    forced = [row for row in latest(database, 10) if row.event == "rollout.switching"]
    assert [json.loads(row.details)["forced"] for row in forced] == [True], "the audit log says so"
    assert registry.champion().version == "2"


def test_what_cannot_be_promoted(
    versions: Versions, registry: Registry, serve: InMemoryServe, rollouts: Rollouts
) -> None:
    with pytest.raises(NotFound):
        versions.promote("99", "tester")
    with pytest.raises(NotFound):
        versions.promote("../../etc", "tester")
    with pytest.raises(AlreadyChampion):
        versions.promote("1", "tester")
    with pytest.raises(NotFound, match="No earlier champion"):
        versions.rollback("tester")
    weights = registry.folder(registry.version("2")) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"!")
    with pytest.raises(PackageDamaged, match="altered or damaged"):
        versions.promote("2", "tester")
    serve.classifier["user_config"] = {"model": "1"}
    with pytest.raises(ModelPinned):
        versions.promote("3", "tester")
    assert rollouts.latest() is None


def test_one_rollout_at_a_time(
    versions: Versions, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions_module, "ANSWER_S", 0.0)
    assert versions.promote("2", "tester").state == "switching", "nobody drives it"
    with pytest.raises(RolloutActive, match="Version 2 is being rolled out"):
        versions.promote("3", "tester")


def test_a_card_says_what_is_known(versions: Versions) -> None:
    card = versions.describe("champion")
    assert (card["version"], card["champion"], card["run"]) == ("1", True, None)
    assert card["card"] == "# Model card of 1\n"
    assert card["manifest"]["version"] == "1"
    assert card["report"] is False
    with pytest.raises(NotFound, match="without a report"):
        versions.report("2")
    with pytest.raises(NotFound, match="without a report"):
        versions.evaluation("2")
    with pytest.raises(NotFound):
        versions.describe("99")
