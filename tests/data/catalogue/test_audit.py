"""The audit log: no row can be changed by accident, and none in secret."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from data.catalogue.audit import FIRST_PREVIOUS, append, latest, verify
from data.catalogue.database import Database
from models.errors import AuditBroken, InvalidField

NO_TRIGGERS = {
    "sqlite": (
        "DROP TRIGGER audit_no_update",
        "DROP TRIGGER audit_no_delete",
        "DROP TRIGGER audit_in_order",
    ),
    "postgresql": ("ALTER TABLE audit DISABLE TRIGGER ALL",),
}
COPY = "time, event, actor, details, previous, hash"


@pytest.fixture
def written(database: Database) -> Database:
    """A log of five rows."""
    for number in range(5):
        with database.writing() as session:
            append(session, "test.done", f"actor {number}", {"number": number, "label": "mel"})
    return database


def _execute(database: Database, *statements: str) -> None:
    with database.writing() as session:
        for statement in statements:
            session.execute(text(statement))


def _tamper(database: Database, *statements: str) -> None:
    """Do what only the owner of the database can."""
    with database.reading() as session:
        dialect = session.get_bind().dialect.name
    _execute(database, *NO_TRIGGERS[dialect], *statements)


def test_an_empty_log_verifies(database: Database) -> None:
    report = verify(database)
    assert (report.rows, report.head) == (0, FIRST_PREVIOUS)
    assert verify(database, expect=FIRST_PREVIOUS) == report
    assert latest(database, 10) == ()


def test_a_log_can_be_checked_by_others(written: Database) -> None:
    """The hash is defined well enough to be computed without our code."""
    entries = latest(written, 100)
    previous = "0" * 64
    for number, entry in enumerate(entries, 1):
        fields = [number, entry.time, entry.event, entry.actor, entry.details, previous]
        canonical = json.dumps(fields, separators=(",", ":"))
        assert entry.hash == hashlib.sha256(canonical.encode()).hexdigest()
        previous = entry.hash
    report = verify(written)
    assert (report.rows, report.head) == (5, previous)
    assert json.loads(entries[2].details) == {"number": 2, "label": "mel"}
    assert entries[0].time < entries[-1].time
    assert entries[0].time.endswith("+00:00")


def test_the_newest_rows_are_listed_in_order(written: Database) -> None:
    assert [entry.number for entry in latest(written, 2)] == [4, 5]
    assert [entry.number for entry in latest(written, 100)] == [1, 2, 3, 4, 5]


def test_a_row_is_kept_with_its_transaction_only(written: Database) -> None:
    def fail() -> None:
        with written.writing() as session:
            append(session, "test.failed", "tester", {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert verify(written).rows == 5


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "Ä 日本", '"; DROP TABLE audit; --', ""])
def test_any_text_can_be_written(database: Database, value: str) -> None:
    with database.writing() as session:
        append(session, "test.done", value, {value: [value]})
    assert verify(database).rows == 1
    assert json.loads(latest(database, 1)[0].details) == {value: [value]}


@pytest.mark.parametrize("details", [{"image": b"bytes"}, {"a": object()}, {1: 2}])
def test_what_is_not_plain_is_not_written(database: Database, details: Any) -> None:
    with pytest.raises(TypeError), database.writing() as session:
        append(session, "test.done", "tester", details)
    assert verify(database).rows == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET event = 'forged' WHERE number = 3",
        "UPDATE audit SET number = 9 WHERE number = 5",
        "DELETE FROM audit WHERE number = 5",
        "DELETE FROM audit",
        f"INSERT INTO audit (number, {COPY}) SELECT 3, {COPY} FROM audit WHERE number = 3",
    ],
)
def test_the_database_refuses_to_change_a_row(written: Database, statement: str) -> None:
    before = latest(written, 10)
    with pytest.raises((DBAPIError, AuditBroken), match=r"append-only|unique"):
        _execute(written, statement)
    assert latest(written, 10) == before


def test_sqlite_refuses_to_replace_a_row(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.writing() as session:
        append(session, "test.done", "tester", {})
    statement = f"INSERT OR REPLACE INTO audit SELECT 1, {COPY} FROM audit"
    with pytest.raises(DBAPIError, match="append-only"):
        _execute(database, statement.replace("event", "'forged'"))
    assert verify(database).rows == 1
    database.close()


def test_postgresql_refuses_to_empty_the_table(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    with database.writing() as session:
        append(session, "test.done", "tester", {})
    with pytest.raises(Exception, match="append-only"):
        _execute(database, "TRUNCATE audit")
    assert verify(database).rows == 1
    database.close()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit SET time = '2020-01-01T00:00:00.000000+00:00' WHERE number = 3", "3 .*was"),
        ("UPDATE audit SET event = 'forged' WHERE number = 3", "Row 3 .*was changed"),
        ("UPDATE audit SET actor = 'another' WHERE number = 1", "Row 1 .*was changed"),
        ("UPDATE audit SET details = '{}' WHERE number = 5", "Row 5 .*was changed"),
        ("UPDATE audit SET details = details || ' ' WHERE number = 5", "Row 5 .*was changed"),
        ("UPDATE audit SET details = 'no json' WHERE number = 2", "Row 2 .*was changed"),
        ("UPDATE audit SET hash = 'forged' WHERE number = 4", "Row 4 .*was changed"),
        ("UPDATE audit SET previous = 'forged' WHERE number = 4", "Row 4 .*does not follow"),
        ("DELETE FROM audit WHERE number = 1", "Row 1 .*is missing"),
        ("DELETE FROM audit WHERE number = 3", "Row 3 .*is missing"),
        ("UPDATE audit SET number = 0 WHERE number = 5", "Row 1 .*is missing"),
        (
            f"INSERT INTO audit (number, {COPY}) SELECT 6, {COPY} FROM audit WHERE number = 5",
            "Row 6 .*does not follow",
        ),
    ],
)
def test_a_row_that_is_not_as_it_was_is_named(
    written: Database, statement: str, problem: str
) -> None:
    verify(written)
    _tamper(written, statement)
    with pytest.raises(AuditBroken, match=problem):
        verify(written)


@pytest.mark.parametrize("value", ["x'ff00'", "7", "7.5"])
def test_sqlite_may_hold_values_of_another_kind(sqlite_url: str, value: str) -> None:
    database = Database(sqlite_url)
    with database.writing() as session:
        append(session, "test.done", "tester", {})
    _tamper(database, f"UPDATE audit SET event = {value}")
    with pytest.raises(AuditBroken, match=r"Row 1 .*was changed"):
        verify(database)
    database.close()


def test_a_log_that_was_cut_short_is_found_by_its_hash(written: Database) -> None:
    head = verify(written).head
    assert verify(written, expect=head).head == head
    with written.writing() as session:
        append(session, "test.done", "tester", {})
    assert verify(written, expect=head).rows == 6  # it has grown since
    _tamper(written, "DELETE FROM audit WHERE number > 4")
    assert verify(written).rows == 4
    with pytest.raises(AuditBroken, match="newest rows were removed"):
        verify(written, expect=head)


def test_a_log_that_was_written_anew_is_found_by_its_hash(written: Database) -> None:
    head = verify(written).head
    _tamper(written, "DELETE FROM audit")
    for number in range(5):
        with written.writing() as session:
            append(session, "test.done", f"actor {number}", {"number": number, "label": "nv"})
    assert verify(written).rows == 5
    with pytest.raises(AuditBroken, match="written anew"):
        verify(written, expect=head)


@pytest.mark.parametrize("expect", ["", "abc", "G" * 64, "0" * 65, "A" * 64])
def test_what_is_no_hash_is_told(written: Database, expect: str) -> None:
    with pytest.raises(InvalidField, match="64 hexadecimal digits"):
        verify(written, expect=expect)


def test_a_long_log_is_verified_in_parts(database: Database) -> None:
    with database.writing() as session:
        for number in range(1200):
            append(session, "test.done", "tester", {"number": number})
    assert verify(database).rows == 1200
    _tamper(database, "UPDATE audit SET actor = 'another' WHERE number = 1100")
    with pytest.raises(AuditBroken, match="Row 1100"):
        verify(database)
