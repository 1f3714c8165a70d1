"""The database: its address, its transactions, and what it says when it cannot work."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import IntegrityError

from data.catalogue import database as module
from data.catalogue.audit import append, verify
from data.catalogue.database import CATALOGUE_VARIABLE, Database, catalogue_url
from models.errors import (
    CatalogueUnavailable,
    InvalidConfiguration,
    StorageFull,
)
from tests.conftest import PROJECT
from tests.data.catalogue.conftest import Opener
from tests.data.catalogue.examples import Adder, fill, new_upload
from tests.data.catalogue.postgresql import PostgresServer


def test_the_catalogue_is_what_the_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CATALOGUE_VARIABLE, raising=False)
    assert catalogue_url() == f"sqlite:///{PROJECT / 'var' / 'catalogue.db'}"
    monkeypatch.setenv(CATALOGUE_VARIABLE, "")
    assert catalogue_url() == f"sqlite:///{PROJECT / 'var' / 'catalogue.db'}"
    monkeypatch.setenv(CATALOGUE_VARIABLE, "postgres://me:a%40b@host/derm")
    assert catalogue_url() == "postgresql+psycopg://me:a%40b@host/derm"
    assert str(Database()) == "postgresql://host/derm"


def test_a_relative_file_is_made_absolute(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CATALOGUE_VARIABLE, "sqlite:///sub/50%.db")
    address = catalogue_url()
    assert str(opened(address)) == f"sqlite:///{tmp_path}/sub/50%.db"
    monkeypatch.chdir("/")
    with opened(address).writing() as session:
        append(session, "test.begun", "tester", {})
    assert (tmp_path / "sub" / "50%.db").exists()


@pytest.mark.parametrize(
    "address",
    [
        "catalogue.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:catalogue.db?uri=true",
        "sqlite://host/catalogue.db",
        "sqlite+aiosqlite:///catalogue.db",
        "mysql://me:secret@host/derm",
        "postgresql+asyncpg://me:secret@host/derm",
        "postgresql://me:secret@host:port/derm",
        "http://me:secret@host",
        "\0",
    ],
)
def test_what_is_no_catalogue_is_told(address: str) -> None:
    with pytest.raises(InvalidConfiguration, match=CATALOGUE_VARIABLE) as refused:
        Database(address)
    assert "secret" not in str(refused.value)


def test_every_commit_reaches_the_disk(opened: Opener, sqlite_url: str) -> None:
    with opened(sqlite_url).reading() as session:
        names = ("journal_mode", "synchronous", "foreign_keys")
        values = [session.scalar(text(f"PRAGMA {name}")) for name in names]
    assert values == ["wal", 2, 1]  # 2 is FULL


def test_what_is_read_is_one_state(database: Database) -> None:
    fill(database, "mel")
    count = text("SELECT count(*) FROM uploads")
    with database.reading() as session:
        assert session.scalar(count) == 1
        Adder(database).add(new_upload(7))
        assert session.scalar(count) == 1
    with database.reading() as session:
        assert session.scalar(count) == 2


class _Mistake(Exception):
    pass


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.writing() as session:
            append(session, "test.begun", "tester", {})
            raise _Mistake

    with pytest.raises(_Mistake):
        fail()
    assert verify(database).rows == 0


def test_writers_take_turns_and_none_is_lost(database: Database) -> None:
    def write(thread: int) -> None:
        for turn in range(10):
            with database.writing() as session:
                append(session, "test.turn", f"thread {thread}", {"turn": turn})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert verify(database).rows == 80


def test_a_lock_that_stays_held_is_told(
    opened: Opener, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    fill(database, "mel")
    other_replica = opened(url)
    with database.writing():
        for other in (database, other_replica):
            with pytest.raises(CatalogueUnavailable, match="is busy") as refused, other.writing():
                pass
            assert refused.value.retry_after_s
            with other.reading() as session:  # readers do not wait
                assert session.scalar(text("SELECT count(*) FROM uploads")) == 1
    assert Adder(other_replica).add(new_upload(1)).duplicate_of is None  # free again


def test_a_lock_that_another_program_holds_is_told(
    sqlite_url: str, tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    database = opened(sqlite_url)
    fill(database, "mel")
    with closing(sqlite3.connect(tmp_path / "catalogue.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogueUnavailable, match="is busy"), database.writing():
            pass
    assert Adder(database).add(new_upload(1)).duplicate_of is None


def test_another_process_that_makes_the_file_is_waited_for(
    opened: Opener, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_OPENING_TIMEOUT_S", 0.05)
    database = opened(sqlite_url)
    with (
        FileLock(tmp_path / "catalogue.db.lock"),
        pytest.raises(CatalogueUnavailable, match="is busy"),
        database.reading(),
    ):
        pass
    fill(database, "mel")


def test_more_threads_than_connections_wait_for_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(16, timeout=60)

    def read(_: int) -> object:
        together.wait()
        with database.reading() as session:
            return session.scalar(text("SELECT count(*) FROM uploads"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(read, range(16))) == [0] * 16


# A disk that is full.


@pytest.fixture
def small_disk() -> Iterator[None]:
    """SQLite files of at most 40 pages of 4 KiB, which SQLite reports as a full disk."""

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 40")

    event.listen(Engine, "connect", limit)
    yield
    event.remove(Engine, "connect", limit)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_and_nothing_acknowledged_is_lost(
    opened: Opener, sqlite_url: str
) -> None:
    database = opened(sqlite_url)
    adder, acknowledged = Adder(database), 0

    def add_forever() -> None:
        nonlocal acknowledged
        while True:
            adder.add(new_upload(acknowledged))
            acknowledged += 1

    with pytest.raises(StorageFull, match="nothing was stored"):
        add_forever()
    assert acknowledged > 0
    assert adder.uploads.page().total == acknowledged == verify(database).rows


def test_a_full_disk_of_postgresql_is_told(opened: Opener, postgresql_url: str) -> None:
    database = opened(postgresql_url)
    fill(database, "mel")
    with database.writing() as session:
        session.execute(
            text(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
            )
        )
        session.execute(
            text("CREATE TRIGGER full_disk BEFORE INSERT ON audit EXECUTE FUNCTION full_disk()")
        )
    with pytest.raises(StorageFull, match="nothing was stored"):
        fill(database, None, "nv")
    assert Adder(database).uploads.page().total == 1


# Databases that do not work.


@pytest.mark.parametrize("content", [b"This is no database. " * 100, b"SQLite format 3\0" * 300])
def test_a_damaged_file_is_told(
    opened: Opener, sqlite_url: str, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "catalogue.db").write_bytes(content)
    with (
        pytest.raises(CatalogueUnavailable, match="Restore it from a backup"),
        opened(sqlite_url).reading(),
    ):
        pass
    assert (tmp_path / "catalogue.db").read_bytes() == content


def test_a_read_only_file_is_told(opened: Opener, sqlite_url: str) -> None:
    fill(opened(sqlite_url), "mel")

    def forbid(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    database = opened(sqlite_url)
    event.listen(Engine, "connect", forbid)
    try:
        with pytest.raises(CatalogueUnavailable, match="readonly"):
            fill(database, None, "nv")
    finally:
        event.remove(Engine, "connect", forbid)
    assert Adder(database).uploads.page().total == 1


@pytest.mark.parametrize("place", ["file/catalogue.db", "", "x" * 300])
def test_a_place_that_cannot_hold_a_file_is_told(
    opened: Opener, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CatalogueUnavailable, match=CATALOGUE_VARIABLE),
        opened(f"sqlite:///{tmp_path}/{place}").reading(),
    ):
        pass


def test_a_file_of_another_kind_is_not_touched(
    opened: Opener, sqlite_url: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "catalogue.db")) as other:
        other.execute("CREATE TABLE runs (id INTEGER)")
    with pytest.raises(CatalogueUnavailable), opened(sqlite_url).reading():
        pass
    with closing(sqlite3.connect(tmp_path / "catalogue.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("runs",)]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:secret@127.0.0.1:1/derm",
        "postgresql://me:secret@no-such-host.invalid/derm",
        "postgresql:///derm?host=/no/such/folder",
    ],
)
def test_a_server_that_does_not_answer_is_told(opened: Opener, address: str) -> None:
    pytest.importorskip("psycopg")
    with (
        pytest.raises(
            CatalogueUnavailable, match=f"Start PostgreSQL, or .*{CATALOGUE_VARIABLE}"
        ) as refused,
        opened(address).reading(),
    ):
        pass
    assert "secret" not in str(refused.value)


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with (
        pytest.raises(InvalidConfiguration, match=r"pip install 'dermserve\[postgres\]'"),
        Database("postgresql://host/derm").reading(),
    ):
        pass


def test_a_database_that_is_not_there_is_told(opened: Opener, postgresql_url: str) -> None:
    missing = postgresql_url.replace("/postgres?", "/none?")
    with pytest.raises(CatalogueUnavailable, match="does not exist"), opened(missing).reading():
        pass


def test_a_server_that_crashed_is_used_again(
    opened: Opener, postgres_server: PostgresServer, postgresql_url: str
) -> None:
    database = opened(postgresql_url)
    fill(database, "mel", "nv")
    before = verify(database)
    postgres_server.stop()
    try:
        with pytest.raises(CatalogueUnavailable, match="Start PostgreSQL"):
            fill(database, "df")
    finally:
        postgres_server.start()
    assert verify(database) == before
    fill(database, "mel", "nv", "df")
    assert verify(database).rows == 3


def test_a_connection_that_breaks_within_a_transaction_is_told(
    opened: Opener, postgresql_url: str
) -> None:
    database = opened(postgresql_url)

    def write() -> None:
        with database.writing() as session:
            append(session, "test.begun", "tester", {})
            connection: Connection = session.connection()
            with opened(postgresql_url).reading() as other:
                own = connection.scalar(text("SELECT pg_backend_pid()"))
                other.execute(text(f"SELECT pg_terminate_backend({own}, 5000)"))
            append(session, "test.ended", "tester", {})

    with pytest.raises(CatalogueUnavailable):
        write()
    assert verify(database).rows == 0


def test_our_own_mistakes_are_not_blamed_on_the_database(database: Database) -> None:
    statement = text("INSERT INTO uploads (id, lesion_id) VALUES (:id, :lesion_id)")
    with pytest.raises(IntegrityError) as raised, database.writing() as session:
        session.execute(statement, {"id": "1", "lesion_id": "2"})
    assert raised.value.hide_parameters  # what a user sent does not reach the log
