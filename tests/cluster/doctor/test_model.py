"""The model: its package, and what the server answers with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.doctor.model import ModelFacts, check, gather
from cluster.doctor.unseen import Unseen
from models.package import CARD_FILE, ModelPackage
from models.registry import Registry
from tests.cluster.doctor.conftest import Place
from tests.cluster.doctor.found import one, verdicts

GOOD = ModelFacts(
    wished="champion",
    version="2",
    dataset_hash="d2",
    package_hash="0" * 64,
    problem=None,
    served={"version": "2", "dataset_hash": "d2"},
)


def test_a_good_one() -> None:
    assert verdicts(check(GOOD)) == ["ok", "ok"]


def test_a_package_that_is_damaged() -> None:
    facts = replace(GOOD, version=None, problem="weights.safetensors is altered.")
    assert "altered" in one(check(facts), "wrong").message


@pytest.mark.parametrize("served", [{"version": "1"}, {"version": "2", "dataset_hash": "d1"}])
def test_another_one_serves(served: dict[str, str]) -> None:
    found = one(check(replace(GOOD, served=served)), "warning")
    assert "the champion is 2" in found.message


def test_a_pin() -> None:
    assert "pins the model to 2" in one(check(replace(GOOD, wished="2")), "warning").message


def test_a_change_that_failed() -> None:
    facts = replace(GOOD, load_error="It fails its self-test.")
    assert "self-test" in one(check(facts), "wrong").message


def test_no_standby() -> None:
    facts = replace(GOOD, standby_error="It is damaged.")
    assert "kept warm" in one(check(facts), "warning").message


@pytest.mark.parametrize("served", [None, Unseen("No server answers.")])
def test_nobody_says_which_serves(served: Unseen | None) -> None:
    assert one(check(replace(GOOD, served=served)), "not checked")


def test_the_bundled_one(place: Place, champion: ModelPackage, tmp_path: Path) -> None:
    facts = gather(place())
    assert facts.version == champion.manifest.version
    assert facts.problem is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_champion_that_was_altered(
    place: Place, champion: ModelPackage, tmp_path: Path
) -> None:
    bundled = tmp_path / "bundled"
    shutil.copytree(champion.folder, bundled)
    surroundings = place(DERMSERVE_CHAMPION=str(bundled))
    assert verdicts(check(gather(surroundings)))[0] == "ok"
    registry = Registry(f"sqlite:///{tmp_path}/var/mlflow.db", bundled=bundled)
    folder = registry.folder(registry.champion())
    assert verdicts(check(gather(surroundings)))[0] == "ok"
    (folder / CARD_FILE).write_text("better than it is")
    assert CARD_FILE in one(check(gather(surroundings)), "wrong").message
