"""The schema: what the migrations make is what the tables say, on both databases."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from data.catalogue.database import Database
from data.catalogue.schema import MIGRATIONS, SCHEMA_VERSION
from data.catalogue.tables import Base
from models.errors import CatalogueUnavailable
from tests.data.catalogue.conftest import Opener


def test_the_newest_migration_is_known() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [SCHEMA_VERSION]


def test_the_migrations_make_the_tables(database: Database) -> None:
    with database.reading() as session:
        connection: Connection = session.connection()
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_catalogue_of_another_version_is_told(
    database: Database, url: str, opened: Opener
) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'future'"))
    other = opened(url)
    with (
        pytest.raises(CatalogueUnavailable, match=r"'future'.*a database of its own"),
        other.reading(),
    ):
        pass
