"""The image store: in a folder, and as fsspec opens others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cluster.doctor.images import ImageFacts, check, gather
from data.catalogue.api_key import Role
from data.catalogue.audit import catalogue_id
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from data.image_store import IMAGES_VARIABLE, ImageStore
from tests.cluster.doctor.conftest import Place
from tests.cluster.doctor.found import one, verdicts

GOOD = ImageFacts(
    "s3://bucket/images",
    exists=True,
    problem=None,
    owner="abc",
    catalogue="abc",
    folder=False,
    nodes=3,
)


def test_a_good_one() -> None:
    assert verdicts(check(GOOD)) == ["ok"]


def test_one_that_cannot_be_written() -> None:
    found = one(check(replace(GOOD, problem="The image store is full.")), "wrong")
    assert IMAGES_VARIABLE in str(found.mend)


def test_one_of_another_catalogue() -> None:
    assert "another catalogue" in one(check(replace(GOOD, catalogue="def")), "wrong").message
    assert verdicts(check(replace(GOOD, catalogue=None))) == ["ok"]
    assert verdicts(check(replace(GOOD, owner=None))) == ["ok"]


def test_a_folder_in_a_cluster() -> None:
    assert "3 machines" in one(check(replace(GOOD, folder=True)), "wrong").message
    assert verdicts(check(replace(GOOD, folder=True, nodes=1))) == ["ok"]


def test_a_new_one_is_not_made(place: Place, tmp_path: Path) -> None:
    assert "is new" in one(check(gather(place())), "ok").message
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "var").write_text("a file")
    assert "cannot be made" in one(check(gather(place())), "wrong").message


def test_a_folder_is_written_and_left_empty(place: Place, tmp_path: Path) -> None:
    (tmp_path / "var" / "images").mkdir(parents=True)
    assert "gives them back" in one(check(gather(place())), "ok").message
    assert [path for path in (tmp_path / "var" / "images").rglob("*") if path.is_file()] == []


def test_a_folder_that_is_a_file(place: Place, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "images").write_text("a file")
    assert verdicts(check(gather(place()))) == ["wrong"]


def test_any_store_that_fsspec_opens(place: Place) -> None:
    facts = gather(place(DERMSERVE_IMAGES="memory://images"))
    assert not facts.folder
    assert verdicts(check(facts)) == ["ok"]
    assert list(ImageStore("memory://images").stored()) == []
    assert verdicts(check(gather(place(DERMSERVE_IMAGES="nosuch://images")))) == ["wrong"]


def test_the_owner_is_held_against_the_catalogue(place: Place, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/var/catalogue.db")
    Keys(database).create("a test", [Role.PREDICT], "test")
    own = catalogue_id(database)
    database.close()
    store = ImageStore(f"{tmp_path}/var/images")
    store.belong_to(str(own))
    assert verdicts(check(gather(place()))) == ["ok"]
    store.belong_to("0" * 64)
    assert verdicts(check(gather(place()))) == ["wrong"]
