"""The catalogue: reachable, writable, at the present schema, and shared if there are nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from cluster.doctor.finding import Finding, ok, warning, wrong
from cluster.doctor.place import unmakeable
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen
from data.catalogue.database import CATALOGUE_VARIABLE, Database, catalogue_url, parse_url
from data.catalogue.failures import sqlite_file
from data.catalogue.keys import Keys
from data.catalogue.schema import SCHEMA_VERSION
from data.catalogue.tables import UploadRow
from models.errors import DermServeError

_MAY_WRITE = text("SELECT has_table_privilege(:table, 'INSERT') AND NOT pg_is_in_recovery()")


@dataclass(frozen=True)
class CatalogueFacts:
    """What came of opening it."""

    address: str
    """Without a password."""
    file: bool
    """Whether it is SQLite, in a file of this machine."""
    problem: str | None
    """Why it cannot be read or written."""
    schema: str | None
    """The migration that it has seen last."""
    read_only: bool
    nodes: int
    """Machines of the cluster."""


def gather(surroundings: Surroundings) -> CatalogueFacts:
    """Open it, read its schema and take its writers' lock; nothing is written or migrated."""
    address = "The catalogue"
    path: Path | None = None
    schema, read_only, problem = None, False, None
    with surroundings.in_place():
        try:
            path = sqlite_file(parse_url(catalogue_url()))
            database = Database()
            address = str(database)
            schema = database.found_schema()
            if path is not None and not path.exists():
                problem = unmakeable(path)
            if schema == SCHEMA_VERSION:
                read_only = _is_read_only(database, file=path is not None)
        except DermServeError as error:
            problem = error.message
    return CatalogueFacts(
        address, path is not None, problem, schema, read_only, surroundings.machines
    )


def has_keys() -> bool | Unseen:
    """Whether the catalogue of this process's environment has an API key."""
    try:
        database = Database()
        schema = database.found_schema()
        if schema is None:
            return False
        if schema != SCHEMA_VERSION:
            return Unseen("The catalogue has another schema.")
        try:
            return bool(Keys(database).all())
        finally:
            database.close()
    except DermServeError as error:
        return Unseen(error.message)


def check(facts: CatalogueFacts) -> list[Finding]:
    """Judge the catalogue as it was found."""
    if facts.problem is not None:
        return [wrong(facts.problem, f"Repair it, or correct {CATALOGUE_VARIABLE}.")]
    found = []
    if facts.schema is None:
        found.append(ok(f"{facts.address} is new: the first start makes its tables."))
    elif facts.schema > SCHEMA_VERSION:
        found.append(
            wrong(
                f"{facts.address} was written by a newer DermServe (schema {facts.schema}, this "
                f"code knows {SCHEMA_VERSION}).",
                "Install the version that wrote it, or restore a backup.",
            )
        )
    elif facts.schema < SCHEMA_VERSION:
        found.append(
            warning(
                f"{facts.address} has schema {facts.schema}, and {SCHEMA_VERSION} is the newest: "
                "the next start migrates it, and older code cannot use it then.",
                "Back it up, then start the server or run `dermserve audit verify`.",
            )
        )
    if facts.read_only:
        found.append(
            wrong(
                f"{facts.address} can be read and not written.",
                f"Let {CATALOGUE_VARIABLE} name the primary, not a standby, and a role that may "
                "write.",
            )
        )
    if facts.file and facts.nodes > 1:
        found.append(
            wrong(
                f"{facts.address} is a file, and the cluster has {facts.nodes} machines: "
                "each would write one of its own.",
                f"Set {CATALOGUE_VARIABLE} to PostgreSQL on all nodes.",
            )
        )
    return found or [ok(f"{facts.address} can be read and written (schema {facts.schema}).")]


def _is_read_only(database: Database, *, file: bool) -> bool:
    try:
        with database.writing() as session:  # SQLite takes its lock here, or says why not
            return not file and not session.scalar(_MAY_WRITE, {"table": UploadRow.__tablename__})
    finally:
        database.close()


SUBJECT = Subject("Catalogue", gather, check)
