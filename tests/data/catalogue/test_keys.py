"""API keys: made, listed and revoked, and nothing of their text kept."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text

from data.catalogue import audit
from data.catalogue.api_key import Role, id_of, matches
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from data.catalogue.tables import ApiKeyRow, AuditRow
from models.errors import InvalidField, NotFound


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


def _rows(database: Database) -> list[dict[str, Any]]:
    with database.reading() as session:
        tables = (ApiKeyRow, AuditRow)
        return [
            dict(row)
            for table in tables
            for row in session.execute(text(f"SELECT * FROM {table.__tablename__}")).mappings()
        ]


def test_a_key_is_kept_as_a_slow_hash_and_its_text_nowhere(keys: Keys, database: Database) -> None:
    created = keys.create("ward 7", [Role.PREDICT], "test")
    prefix, key_id, secret = created.text.split("_")
    assert (prefix, key_id, len(secret)) == ("ds", created.key.id, 64)
    stored = repr(_rows(database))
    assert created.text not in stored
    assert secret not in stored
    (key,) = keys.all()
    assert key.hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert matches(key.hash, created.text)
    assert not matches(key.hash, created.text[:-1])
    assert id_of(created.text) == key.id


def test_two_keys_have_nothing_in_common(keys: Keys) -> None:
    first, second = (keys.create("same", [Role.PREDICT], "test") for _ in range(2))
    assert first.text != second.text
    assert first.key.id != second.key.id
    assert first.key.hash != second.key.hash
    assert not matches(first.key.hash, second.text)


def test_what_was_said_of_a_key_is_kept(keys: Keys) -> None:
    created = keys.create(
        "ward 7",
        [Role.UPLOAD, Role.PREDICT],
        "test",
        expires_in_days=30,
        requests_per_minute=60,
        bytes_per_minute=2**40,
    )
    (key,) = keys.all()
    assert key == created.key
    assert key.roles == {Role.UPLOAD, Role.PREDICT}
    assert (key.requests_per_minute, key.bytes_per_minute) == (60, 2**40)
    assert key.expires == key.created + timedelta(days=30)
    assert key.ended(key.created) is None
    assert key.ended(key.created + timedelta(days=30)) == "has expired"


def test_a_revoked_key_stays_in_the_list(keys: Keys, database: Database) -> None:
    first, second = (keys.create(name, [Role.ADMIN], "test") for name in "ab")
    revoked = keys.revoke(first.key.id, "someone")
    assert revoked.ended(datetime.now(timezone.utc)) == "was revoked"
    again = keys.revoke(first.key.id, "someone else")
    assert again.revoked == revoked.revoked
    listed = keys.all()
    assert [key.id for key in listed] == [first.key.id, second.key.id]
    assert [key.ended(datetime.now(timezone.utc)) for key in listed] == ["was revoked", None]
    with database.reading() as session:
        rows = session.query(AuditRow).order_by(AuditRow.number).all()
        assert [(row.event, row.actor) for row in rows] == [
            ("key.created", "test"),
            ("key.created", "test"),
            ("key.revoked", "someone"),
        ]
        assert json.loads(rows[2].details) == {"key": first.key.id}
    assert audit.verify(database).rows == 3


@pytest.mark.parametrize("key_id", ["", "0" * 12, "0" * 11, "%", "' OR 1=1 --", "\0", "x" * 10**5])
def test_a_key_that_is_not_there_cannot_be_revoked(keys: Keys, key_id: str) -> None:
    keys.create("a", [Role.ADMIN], "test")
    with pytest.raises(NotFound, match="dermserve keys list") as refused:
        keys.revoke(key_id, "test")
    assert len(refused.value.message) < 500


@pytest.mark.parametrize(
    "terms",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"name": "a\nb"},
        {"roles": []},
        {"requests_per_minute": 0},
        {"bytes_per_minute": -1},
        {"bytes_per_minute": 2**60},
        {"expires_in_days": 0},
        {"expires_in_days": float("nan")},
        {"expires_in_days": float("inf")},
        {"expires_in_days": 1e6},
    ],
)
def test_what_cannot_be_is_refused(keys: Keys, terms: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        keys.create(**{"name": "a", "roles": [Role.PREDICT], "actor": "test", **terms})
    assert keys.all() == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ds_",
        "é" * 80,
        f"ds_0123456789AB_{'0' * 64}",
        f"ds_0123456789ab_{'0' * 63}",
        f"ds_0123456789ab_{'0' * 64}\n",
        f" ds_0123456789ab_{'0' * 64}",
    ],
)
def test_a_text_that_is_none_has_no_id(text: str) -> None:
    assert id_of(text) is None


def test_a_key_that_was_found_somewhere_can_be_revoked_by_its_text(keys: Keys) -> None:
    created = keys.create("a", [Role.ADMIN], "test")
    assert keys.revoke(created.text, "test").id == created.key.id
    assert keys.all()[0].revoked is not None


def test_a_key_does_not_show_in_an_error(keys: Keys) -> None:
    created = keys.create("a", [Role.ADMIN], "test")
    damaged = created.text[:-1]  # half pasted, and no key any more
    with pytest.raises(NotFound) as refused:
        keys.revoke(damaged, "test")
    assert damaged[20:40] not in refused.value.message
