"""`dermserve audit`: what it prints, and its status when the log is broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from cluster.audit_command import app
from data.catalogue.audit import append, verify
from data.catalogue.database import CATALOGUE_VARIABLE, Database
from models.errors import AuditBroken, InvalidField


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A log of three rows; rich would read the brackets as a style and leave them out."""
    monkeypatch.setenv(CATALOGUE_VARIABLE, f"sqlite:///{tmp_path}/a [red] folder/catalogue.db")
    database = Database()
    for number in range(3):
        with database.writing() as session:
            append(session, f"test.event{number}", "[bold]tester", {"label": "mel [blue]"})
    yield database
    database.close()


def _audit(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})


def test_a_log_that_verifies(database: Database) -> None:
    result = _audit("verify")
    assert result.exit_code == 0, result.output
    assert f"All 3 rows of the audit log in {database} are as they were written." in result.output
    assert "a [red] folder" in result.output
    head = verify(database).head
    assert head in result.output
    assert _audit("verify", "--expect", head).exit_code == 0


def test_a_broken_log_is_one_sentence_of_ours(database: Database) -> None:
    with database.writing() as session:
        session.execute(text("DROP TRIGGER audit_no_update"))
        session.execute(text("UPDATE audit SET actor = 'another' WHERE number = 2"))
    result = _audit("verify")
    assert result.exit_code == 1
    assert isinstance(result.exception, AuditBroken)
    assert "Row 2 " in result.exception.message


@pytest.mark.usefixtures("database")
def test_an_unexpected_end_is_told() -> None:
    result = _audit("verify", "--expect", "f" * 64)
    assert isinstance(result.exception, AuditBroken)
    assert isinstance(_audit("verify", "--expect", "head").exception, InvalidField)


@pytest.mark.usefixtures("database")
def test_the_newest_rows_are_listed() -> None:
    result = _audit("list", "--last", "2")
    assert result.exit_code == 0, result.output
    assert "test.event0" not in result.output
    assert result.output.index("test.event1") < result.output.index("test.event2")
    assert "[bold]tester" in result.output
    assert "label: mel [blue]" in result.output
    assert '{"label":"mel [blue]"}' in _audit("list", "--last", "2", "--full").output
    assert _audit("list", "--last", "0").exit_code == 2


@pytest.mark.parametrize("command", ["verify", "list"])
def test_every_command_has_an_example(command: str) -> None:
    assert f"Example: dermserve audit {command}" in _audit(command, "--help").output
