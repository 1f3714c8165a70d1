"""The registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cluster.doctor.registry import RegistryFacts, check, gather
from models.package import ModelPackage
from models.registry import Registry
from models.tracking_uri import REGISTRY_VARIABLE
from tests.cluster.doctor.conftest import Place
from tests.cluster.doctor.found import one, verdicts

GOOD = RegistryFacts(
    "http://mlflow:5000",
    file=False,
    problem=None,
    versions=3,
    champion="2",
    nodes=3,
)


def test_a_good_one() -> None:
    assert "3 versions, champion 2" in one(check(GOOD), "ok").message


def test_one_that_does_not_answer() -> None:
    found = one(check(replace(GOOD, problem="It does not answer.")), "wrong")
    assert REGISTRY_VARIABLE in str(found.mend)


def test_no_champion() -> None:
    found = one(check(replace(GOOD, champion=None)), "wrong")
    assert "dermserve models promote" in str(found.mend)


def test_a_file_in_a_cluster() -> None:
    assert "mlflow server" in str(one(check(replace(GOOD, file=True)), "wrong").mend)


def test_a_new_one_is_not_made(place: Place, tmp_path: Path) -> None:
    assert "is new" in one(check(gather(place())), "ok").message
    assert list(tmp_path.iterdir()) == []


def test_one_in_a_file(place: Place, tmp_path: Path, champion: ModelPackage) -> None:
    Registry(f"sqlite:///{tmp_path}/var/mlflow.db", bundled=champion.folder).champion()
    facts = gather(place())
    assert (facts.versions, facts.champion) == (1, champion.manifest.version)
    assert verdicts(check(facts)) == ["ok"]


def test_one_that_is_damaged(place: Place, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_text("no database" * 100)
    assert verdicts(check(gather(place()))) == ["wrong"]


def test_a_server_that_is_away(place: Place) -> None:
    away = "http://user:secret@127.0.0.1:1"
    found = one(check(gather(place(DERMSERVE_REGISTRY=away))), "wrong")
    assert "secret" not in found.message
    assert "does not answer" in found.message


def test_no_registry_at_all(place: Place) -> None:
    assert verdicts(check(gather(place(DERMSERVE_REGISTRY="ftp://somewhere")))) == ["wrong"]
