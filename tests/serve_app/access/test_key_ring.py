"""The key ring: which keys open, what verifying costs, and how soon a key is forgotten."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import delete, update

from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from data.catalogue.tables import ApiKeyRow
from models.errors import CatalogueUnavailable, RateLimited, Unauthenticated
from serve_app.access import key_ring as module
from serve_app.access.key_ring import MAX_FAILURES, KeyRing
from tests.serve_app.access.conftest import MakeKey


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that went through the slow hash."""
    texts: list[str] = []
    matches = module.matches

    def watched(stored_hash: str, text: str) -> bool:
        texts.append(text)
        return matches(stored_hash, text)

    monkeypatch.setattr(module, "matches", watched)
    return texts


def _other_secret(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


async def test_the_slow_hash_is_paid_once(
    make_key: MakeKey, ring: KeyRing, verified: list[str]
) -> None:
    created = make_key(Role.PREDICT)
    found = await asyncio.gather(*[ring.find(created.text) for _ in range(20)])
    found += [await ring.find(created.text) for _ in range(20)]
    assert {key.id for key in found} == {created.key.id}
    assert verified == [created.text]


async def test_a_refreshed_ring_need_not_verify_again(
    make_key: MakeKey, ring: KeyRing, verified: list[str]
) -> None:
    created = make_key(Role.PREDICT)
    for _ in range(3):
        await ring.find(created.text)
        ring.refresh()
    assert verified == [created.text]


async def test_the_right_id_with_another_secret_opens_nothing(
    make_key: MakeKey, ring: KeyRing, verified: list[str]
) -> None:
    created = make_key(Role.PREDICT)
    wrong = _other_secret(created.text)
    with pytest.raises(Unauthenticated):
        await ring.find(wrong)
    await ring.find(created.text)
    with pytest.raises(Unauthenticated):
        await ring.find(wrong)
    # Once the key is verified, wrong texts are refused by the fast digest.
    assert verified == [wrong, created.text]


async def test_secrets_are_compared_in_constant_time(
    make_key: MakeKey, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = make_key(Role.PREDICT)
    await ring.find(created.text)
    compared: list[tuple[bytes, bytes]] = []

    def watched(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(module.hmac, "compare_digest", watched)
    await ring.find(created.text)
    assert len(compared) == 1
    assert {len(digest) for digest in compared[0]} == {64}


async def test_nothing_of_a_text_is_remembered(make_key: MakeKey, ring: KeyRing) -> None:
    created = make_key(Role.PREDICT)
    await ring.find(created.text)
    assert created.text not in repr(vars(ring))
    assert created.text.rpartition("_")[2] not in repr(vars(ring))


@pytest.mark.parametrize(
    "text",
    ["", "ds_", "ds_0123456789ab_", "ds_" + "0" * 12 + "_" + "f" * 64, "x" * 10**6, "ds_é_ü", "\0"],
)
async def test_texts_that_are_no_key_cost_no_slow_hash(
    make_key: MakeKey, ring: KeyRing, verified: list[str], text: str
) -> None:
    make_key()
    with pytest.raises(Unauthenticated, match="dermserve keys create"):
        await ring.find(text)
    assert verified == []


async def test_guessing_is_slowed_down_until_the_key_is_verified(
    make_key: MakeKey, ring: KeyRing, verified: list[str]
) -> None:
    created, other = make_key(), make_key()
    for _ in range(MAX_FAILURES):
        with pytest.raises(Unauthenticated):
            await ring.find(_other_secret(created.text))
    with pytest.raises(RateLimited) as refused:
        await ring.find(_other_secret(created.text))
    assert refused.value.retry_after_s is not None
    assert 1 <= refused.value.retry_after_s <= 60
    assert len(verified) == MAX_FAILURES
    assert (await ring.find(other.text)).id == other.key.id  # others do not pay for it


async def test_a_revoked_key_opens_nothing_after_the_next_reading(
    make_key: MakeKey, keys: Keys, ring: KeyRing
) -> None:
    created = make_key()
    await ring.find(created.text)
    keys.revoke(created.key.id, "test")
    ring.refresh()
    with pytest.raises(Unauthenticated, match="was revoked"):
        await ring.find(created.text)


async def test_a_ring_that_watches_forgets_a_revoked_key_by_itself(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.REFRESH_S <= 5
    monkeypatch.setattr(module, "REFRESH_S", 0.01)
    created = keys.create("a test", [Role.PREDICT], "test")
    ring = KeyRing(keys)
    read = threading.Event()
    refresh = ring.refresh
    monkeypatch.setattr(ring, "refresh", lambda: (refresh(), read.set()))
    ring.watch()
    await ring.find(created.text)
    keys.revoke(created.key.id, "test")
    for _ in range(2):  # the first of the two may have begun before
        read.clear()
        assert await asyncio.to_thread(read.wait, 60)
    with pytest.raises(Unauthenticated, match="was revoked"):
        await ring.find(created.text)


async def test_an_expired_key_opens_nothing_though_it_was_verified(
    make_key: MakeKey, database: Database, ring: KeyRing
) -> None:
    created = make_key()
    await ring.find(created.text)
    past = datetime.now(timezone.utc) - timedelta(seconds=1)
    with database.writing() as session:
        session.execute(update(ApiKeyRow).values(expires=past))
    ring.refresh()
    with pytest.raises(Unauthenticated, match="has expired"):
        await ring.find(created.text)


async def test_a_catalogue_begun_anew_does_not_open_a_server_that_had_keys(
    make_key: MakeKey, database: Database, ring: KeyRing
) -> None:
    created = make_key()
    with database.writing() as session:
        session.execute(delete(ApiKeyRow))
    ring.refresh()
    assert not ring.empty
    assert (await ring.find(created.text)).id == created.key.id


async def test_a_catalogue_that_fails_leaves_the_keys_as_they_were_read(
    make_key: MakeKey, keys: Keys, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = make_key()

    def fail() -> Any:
        raise CatalogueUnavailable("The catalogue is gone.")

    monkeypatch.setattr(keys, "all", fail)
    ring._try_to_refresh()
    assert (await ring.find(created.text)).id == created.key.id
    unread = KeyRing(keys)
    unread._try_to_refresh()
    with pytest.raises(CatalogueUnavailable):
        await unread.find(created.text)
    with pytest.raises(CatalogueUnavailable):
        _ = unread.empty
