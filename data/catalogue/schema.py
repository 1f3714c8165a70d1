"""The schema of a catalogue, and its way from any earlier one to the present."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from models.errors import CatalogueUnavailable

SCHEMA_VERSION = "0002"
"""The newest migration, known here so that opening a catalogue need not import Alembic."""

MIGRATIONS = Path(__file__).parent / "migrations"

_NOT_OURS = (
    "The database of the catalogue has schema {found!r}, which this DermServe does not know. "
    "Install the version that wrote it, or give the catalogue a database of its own."
)


def schema_version(connection: Connection) -> str | None:
    """The migration that a database has seen last; None if it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, in the caller's transaction, which must exclude other writers.

    Raises:
        CatalogueUnavailable: if the database was written by a newer DermServe.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    found = schema_version(connection)  # another process may have been first
    if found == SCHEMA_VERSION:
        return
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        command.upgrade(config, SCHEMA_VERSION)
    except CommandError as error:
        raise CatalogueUnavailable(_NOT_OURS.format(found=found)) from error
