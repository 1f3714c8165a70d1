"""The audit log: what was done to uploads, runs and versions, as a chain of rows.

Each row holds the hash of the row before it, so that a row that is changed, removed or put in
breaks the chain. Who can write to the database can also write the whole chain anew: to find
that, keep the newest hash elsewhere, and ask for it with `verify(..., expect=...)`.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.catalogue.database import Database, now
from data.catalogue.tables import AuditRow
from data.catalogue.values import canonical_json, storable
from models.errors import AuditBroken, InvalidField

FIRST_PREVIOUS = "0" * 64
"""What the first row has for the hash of the row before it."""

_HASH = re.compile(r"[0-9a-f]{64}")
_ROWS_AT_A_TIME = 1000


@dataclass(frozen=True)
class AuditEntry:
    """A row of the log, as it is stored."""

    number: int
    """Counts from 1, without gaps."""
    time: str
    """ISO 8601, UTC."""
    event: str
    """What happened: `upload.added`, `run.promoted` ..."""
    actor: str
    """Who or what did it."""
    details: str
    """Canonical JSON."""
    previous: str
    """Hash of the row before."""
    hash: str
    """SHA-256, hex, of the canonical JSON of the list of all fields before."""


@dataclass(frozen=True)
class AuditReport:
    """An audit log that verifies."""

    rows: int
    head: str
    """Hash of the newest row; 64 zeros if there is none."""


def append(session: Session, event: str, actor: str, details: dict[str, Any]) -> None:
    """Write one row, which is kept if and only if the rest of the transaction is.

    Args:
        session: of `Database.writing`: two writers at once would fork the chain.
        event: what happened, as `upload.added`.
        actor: who or what did it.
        details: plain values, as JSON has them. It cannot be deleted later, so it holds
            nothing of an image and no name of a person or file.
    """
    newest = session.execute(
        select(AuditRow.number, AuditRow.hash).order_by(AuditRow.number.desc()).limit(1)
    ).one_or_none()
    number, previous = (newest.number + 1, newest.hash) if newest else (1, FIRST_PREVIOUS)
    time = now(session).isoformat(timespec="microseconds")
    fields = (number, time, storable(event), storable(actor), canonical_json(details), previous)
    session.add(AuditRow(**vars(AuditEntry(*fields, _hash(*fields)))))
    session.flush()


def verify(database: Database, expect: str | None = None) -> AuditReport:
    """Recompute every hash of the log.

    Args:
        database: whose log it is.
        expect: a hash that was the newest once; the log must still hold it.

    Raises:
        AuditBroken: naming the first row that is not as it was written.
        InvalidField: if `expect` is no hash.
    """
    if expect is not None and not _HASH.fullmatch(expect):
        raise InvalidField("The expected hash must be 64 hexadecimal digits, in lower case.")
    rows, head = 0, FIRST_PREVIOUS
    found = expect in (None, FIRST_PREVIOUS)
    statement = select(AuditRow).order_by(AuditRow.number)
    some = statement.execution_options(yield_per=_ROWS_AT_A_TIME)
    with database.reading() as session, closing(session.scalars(some)) as stored:
        for entry in map(_entry, stored):
            _check(entry, rows + 1, head)
            rows, head = entry.number, entry.hash
            found = found or head == expect
    if not found:
        raise AuditBroken(
            f"No row of the audit log has the hash {expect}: its newest rows were removed, or all "
            "of it was written anew. Compare it with a backup."
        )
    return AuditReport(rows, head)


def latest(database: Database, limit: int) -> tuple[AuditEntry, ...]:
    """The newest rows, the newest last; they are not verified."""
    statement = select(AuditRow).order_by(AuditRow.number.desc()).limit(limit)
    with database.reading() as session:
        return tuple(_entry(row) for row in session.scalars(statement))[::-1]


def catalogue_id(database: Database) -> str | None:
    """What tells a catalogue from all others; None as long as nothing was ever written down.

    It is the hash of the first row of the audit log, which has the moment in it and stays: in a
    backup, and in a copy in another database.

    Raises:
        CatalogueUnavailable: if the catalogue cannot be read.
    """
    with database.reading() as session:
        return session.scalar(select(AuditRow.hash).order_by(AuditRow.number).limit(1))


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        row.number, row.time, row.event, row.actor, row.details, row.previous, row.hash
    )


def _check(entry: AuditEntry, number: int, previous: str) -> None:
    if entry.number != number:
        problem = f"Row {number} of the audit log is missing"
    elif entry.previous != previous:
        problem = f"Row {number} of the audit log does not follow the row before it"
    elif entry.hash != _hash(*list(vars(entry).values())[:-1]):
        problem = f"Row {number} of the audit log was changed"
    else:
        return
    raise AuditBroken(f"{problem}. Compare it with a backup.")


def _hash(*fields: object) -> str:
    # A changed value may be of any kind that SQLite can hold.
    text = json.dumps(fields, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()
