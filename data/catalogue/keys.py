"""The API keys of the catalogue: made, listed and revoked; none is ever removed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import timedelta

from sqlalchemy import select

from data.catalogue import audit
from data.catalogue.api_key import ApiKey, Role, draw, id_of
from data.catalogue.database import Database, now
from data.catalogue.tables import ApiKeyRow
from data.catalogue.values import checked_text
from models.errors import InvalidField, NotFound

_ID = re.compile(r"[0-9a-f]{12}")
_MAX_LIMIT = 2**53
_MAX_DAYS = 36_500
_FIELDS = tuple(field.name for field in fields(ApiKey) if field.name != "roles")


@dataclass(frozen=True)
class CreatedKey:
    """A key that was just made."""

    key: ApiKey
    text: str
    """What its holder sends; it is kept nowhere."""


class Keys:
    """The keys of a catalogue; safe between threads, and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        roles: Collection[Role],
        actor: str,
        *,
        expires_in_days: float | None = None,
        requests_per_minute: int | None = None,
        bytes_per_minute: int | None = None,
    ) -> CreatedKey:
        """Make a key.

        Args:
            name: what it is for.
            roles: what it may do; at least one.
            actor: who makes it, for the audit log.
            expires_in_days: after which it opens nothing; None is never.
            requests_per_minute: instead of the server's default.
            bytes_per_minute: likewise, of request bodies.

        Raises:
            InvalidField: if there is no role, or the name, a limit or the days cannot be.
            CatalogueUnavailable, StorageFull: as `Database.writing`.
        """
        checked_text("name", name)
        if not roles:
            raise InvalidField(f"A key needs a role: {', '.join(role.value for role in Role)}.")
        for limit in (requests_per_minute, bytes_per_minute):
            if limit is not None and not 1 <= limit <= _MAX_LIMIT:
                raise InvalidField(f"A limit per minute must be 1 to {_MAX_LIMIT}, not {limit}.")
        if expires_in_days is not None and not 0 < expires_in_days <= _MAX_DAYS:
            raise InvalidField(f"A key may last up to {_MAX_DAYS} days, not {expires_in_days:g}.")
        drawn = draw()
        with self._database.writing() as session:
            created = now(session)
            lasts = None if expires_in_days is None else timedelta(days=expires_in_days)
            row = ApiKeyRow(
                id=drawn.id,
                name=name,
                roles=sorted(role.value for role in roles),
                hash=drawn.hash,
                requests_per_minute=requests_per_minute,
                bytes_per_minute=bytes_per_minute,
                created=created,
                expires=None if lasts is None else created + lasts,
                revoked=None,
            )
            session.add(row)
            session.flush()
            ends = row.expires and row.expires.isoformat()
            details = {"key": row.id, "roles": row.roles, "expires": ends}
            audit.append(session, "key.created", actor, details)
            return CreatedKey(_key(row), drawn.text)

    def revoke(self, key_id: str, actor: str) -> ApiKey:
        """Let a key open nothing any more; one that was revoked before stays as it is.

        Args:
            key_id: of the key; its whole text, which may be all that was found, does as well.
            actor: who revokes it, for the audit log.

        Raises:
            NotFound: if there is none of that id.
            CatalogueUnavailable, StorageFull: as `Database.writing`.
        """
        key_id = id_of(key_id) or key_id
        with self._database.writing() as session:
            row = session.get(ApiKeyRow, key_id) if _ID.fullmatch(key_id) else None
            if row is None:
                raise NotFound(
                    f"There is no key {key_id[:20]!r}. `dermserve keys list` shows the ids there "
                    "are: the 12 characters after `ds_` of a key."
                )
            if row.revoked is None:
                row.revoked = now(session)
                audit.append(session, "key.revoked", actor, {"key": row.id})
            return _key(row)

    def all(self) -> tuple[ApiKey, ...]:
        """Every key that was ever made, the oldest first."""
        statement = select(ApiKeyRow).order_by(ApiKeyRow.created, ApiKeyRow.id)
        with self._database.reading() as session:
            return tuple(map(_key, session.scalars(statement)))


def _key(row: ApiKeyRow) -> ApiKey:
    values = {name: getattr(row, name) for name in _FIELDS}
    return ApiKey(**values, roles=frozenset(map(Role, row.roles)))
