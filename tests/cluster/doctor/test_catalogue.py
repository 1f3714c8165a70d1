"""The catalogue, in SQLite and PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from cluster.doctor.catalogue import CatalogueFacts, check, gather, has_keys
from cluster.doctor.unseen import Unseen
from data.catalogue.api_key import Role
from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.catalogue.keys import Keys
from data.catalogue.schema import SCHEMA_VERSION
from tests.cluster.doctor.conftest import Place
from tests.cluster.doctor.found import one, verdicts

GOOD = CatalogueFacts(
    "postgresql://db/derm",
    file=False,
    problem=None,
    schema=SCHEMA_VERSION,
    read_only=False,
    nodes=3,
)


def _make(url: str) -> None:
    database = Database(url)
    with database.reading():
        pass
    database.close()


def test_a_good_one() -> None:
    assert verdicts(check(GOOD)) == ["ok"]


def test_one_that_cannot_be_reached() -> None:
    found = one(check(replace(GOOD, problem="The catalogue does not answer.")), "wrong")
    assert CATALOGUE_VARIABLE in str(found.mend)


def test_an_older_schema_is_migrated_at_the_next_start() -> None:
    assert "Back it up" in str(one(check(replace(GOOD, schema="0001")), "warning").mend)


def test_a_newer_schema() -> None:
    assert "newer DermServe" in one(check(replace(GOOD, schema="9999")), "wrong").message


def test_a_standby() -> None:
    assert "not written" in one(check(replace(GOOD, read_only=True)), "wrong").message


def test_a_file_in_a_cluster() -> None:
    assert "PostgreSQL" in str(one(check(replace(GOOD, file=True)), "wrong").mend)


def test_a_new_one_is_not_made(place: Place, tmp_path: Path) -> None:
    assert "is new" in one(check(gather(place())), "ok").message
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_made(place: Place, tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    assert "cannot be made" in one(check(gather(place())), "wrong").message


def test_one_in_sqlite(place: Place, tmp_path: Path) -> None:
    _make(f"sqlite:///{tmp_path}/var/catalogue.db")
    facts = gather(place())
    assert facts.file
    assert facts.schema == SCHEMA_VERSION
    assert verdicts(check(facts)) == ["ok"]


def test_one_of_another_schema_is_left_as_it_is(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "var" / "catalogue.db"
    _make(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    assert verdicts(check(gather(place()))) == ["warning"]
    assert Database(f"sqlite:///{file}").found_schema() == "0001"


def test_one_that_is_damaged(place: Place, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "catalogue.db").write_text("no database" * 100)
    assert verdicts(check(gather(place()))) == ["wrong"]


def test_one_in_postgresql(place: Place, postgresql_url: str) -> None:
    surroundings = place(DERMSERVE_CATALOGUE=postgresql_url)
    assert "is new" in one(check(gather(surroundings)), "ok").message
    _make(postgresql_url)
    facts = gather(surroundings)
    assert not facts.file
    assert verdicts(check(facts)) == ["ok"]


def test_a_role_that_may_not_write(place: Place, postgresql_url: str) -> None:
    _make(postgresql_url)
    url = make_url(postgresql_url)
    schema = str(url.query["options"]).rpartition("=")[2]
    reader = url.set(username="reader").render_as_string(hide_password=False)
    admin = psycopg.connect(
        host=str(url.query["host"]), user=url.username, dbname=url.database, autocommit=True
    )
    with closing(admin):
        admin.execute("CREATE ROLE reader LOGIN")
        admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader".encode())
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader".encode())
        found = check(gather(place(DERMSERVE_CATALOGUE=reader)))
        admin.execute("DROP OWNED BY reader")
        admin.execute("DROP ROLE reader")
    assert "not written" in one(found, "wrong").message


def test_a_postgresql_that_is_away(place: Place) -> None:
    away = "postgresql://user:secret@127.0.0.1:1/derm"
    found = one(check(gather(place(DERMSERVE_CATALOGUE=away))), "wrong")
    assert "secret" not in found.message


def test_no_database_at_all(place: Place) -> None:
    assert verdicts(check(gather(place(DERMSERVE_CATALOGUE="mysql://db/derm")))) == ["wrong"]


def test_the_shell_is_as_before(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CATALOGUE_VARIABLE, "sqlite:////mine.db")
    surroundings = place()
    with surroundings.in_place():
        assert os.environ[CATALOGUE_VARIABLE] != "sqlite:////mine.db"
    assert os.environ[CATALOGUE_VARIABLE] == "sqlite:////mine.db"


def test_keys(place: Place, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/var/catalogue.db"
    with place().in_place():
        assert has_keys() is False
        assert list(tmp_path.iterdir()) == []
        _make(url)
        assert has_keys() is False
        database = Database(url)
        Keys(database).create("a test", [Role.PREDICT], "test")
        database.close()
        assert has_keys() is True
    with place(DERMSERVE_CATALOGUE="postgresql://127.0.0.1:1/derm").in_place():
        assert isinstance(has_keys(), Unseen)
