"""Access: who may ask, and who is turned away with which error."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from models.errors import (
    BodyTooLarge,
    CatalogueUnavailable,
    Forbidden,
    ForeignSite,
    InvalidConfiguration,
    RateLimited,
    Unauthenticated,
)
from serve_app.access.access import Access, open_access
from serve_app.access.key_ring import KeyRing
from serve_app.access.reach import (
    TLS_CERTIFICATE_VARIABLE,
    TLS_HOST_VARIABLE,
    is_loopback,
    tls_host_of,
)
from serve_app.settings import MIB, ServeSettings
from tests.serve_app.access.conftest import MakeKey


@pytest.mark.parametrize(
    "header",
    [
        lambda text: {"authorization": f"Bearer {text}"},
        lambda text: {"authorization": f"bearer  {text} "},
        lambda text: {"x-api-key": text},
        lambda text: {"authorization": "Basic abc", "x-api-key": text},
    ],
)
async def test_a_key_is_taken_from_either_header(
    access: Access, make_key: MakeKey, header: object
) -> None:
    created = make_key(Role.PREDICT)
    assert callable(header)
    caller = await access.authorise(header(created.text), Role.PREDICT)
    assert caller.actor == f"key:{created.key.id}"
    assert caller.key is not None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"x-api-key": ""},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer \xe9\xfc"},
        {"x-api-key": "a" * 100_000},
        {"cookie": "key"},
    ],
)
async def test_without_a_valid_key_a_server_with_keys_is_closed(
    access: Access, make_key: MakeKey, headers: dict[str, str]
) -> None:
    make_key()
    with pytest.raises(Unauthenticated, match="dermserve keys create"):
        await access.authorise(headers, "a key")


async def test_what_takes_no_key_asks_for_none(access: Access, make_key: MakeKey) -> None:
    headers = {"x-api-key": make_key(requests_per_minute=1).text}
    for sent in ({}, {"x-api-key": "wrong"}, headers, headers):
        assert (await access.authorise(sent, "nothing")).key is None
    assert (await access.authorise(headers, "a key")).key is not None  # nothing was spent


async def test_bearer_counts_where_both_are_sent(access: Access, make_key: MakeKey) -> None:
    first, second = make_key(), make_key()
    headers = {"authorization": f"Bearer {first.text}", "x-api-key": second.text}
    assert (await access.authorise(headers, "a key")).key == first.key
    with pytest.raises(Unauthenticated):
        await access.authorise({**headers, "authorization": "Bearer wrong"}, "a key")


@pytest.mark.parametrize("role", Role)
async def test_no_role_includes_another(access: Access, make_key: MakeKey, role: Role) -> None:
    headers = {"x-api-key": make_key(role).text}
    assert (await access.authorise(headers, role)).key is not None
    assert (await access.authorise(headers, "a key")).key is not None
    for other in set(Role) - {role}:
        with pytest.raises(Forbidden, match=other.value):
            await access.authorise(headers, other)


async def test_without_keys_this_machine_may_do_everything(access: Access) -> None:
    for role in Role:
        caller = await access.authorise({"host": "127.0.0.1:8000"}, role)
        assert (caller.key, caller.actor) == (None, "api")


async def test_a_server_whose_keys_are_all_revoked_stays_closed(
    access: Access, make_key: MakeKey, keys: Keys, ring: KeyRing
) -> None:
    keys.revoke(make_key().key.id, "test")
    ring.refresh()
    with pytest.raises(Unauthenticated):
        await access.authorise({"host": "localhost"}, "a key")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example"},
        {"host": "attacker.example:8000"},
        {"host": "127.0.0.1.attacker.example"},
        {"host": "localhost.attacker.example"},
        {"host": "192.168.1.5:8000"},
        {"host": ""},
        {"host": "[::1"},
        {"host": "localhost", "origin": "https://attacker.example"},
        {"host": "localhost", "origin": "null"},
        {"host": "localhost", "origin": "http://localhost.attacker.example"},
        {"host": "localhost", "origin": "file://"},
    ],
)
async def test_without_keys_pages_of_other_sites_are_turned_away(
    access: Access, headers: dict[str, str]
) -> None:
    """A name that its owner points to this machine (DNS rebinding), or a page elsewhere."""
    with pytest.raises(ForeignSite, match="dermserve keys create"):
        await access.authorise(headers, Role.PREDICT)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "LOCALHOST:8000"},
        {"host": "localhost."},
        {"host": "127.0.0.1"},
        {"host": "[::1]:8000"},
        {"host": "localhost:8000", "origin": "http://localhost:8501"},
        {"host": "localhost:8000", "origin": "https://clinic.example"},
    ],
)
async def test_without_keys_this_machine_is_let_in(ring: KeyRing, headers: dict[str, str]) -> None:
    settings = ServeSettings(allowed_origins=("https://clinic.example",))
    caller = await Access(ring, settings, "127.0.0.1").authorise(headers, Role.PREDICT)
    assert caller.key is None


async def test_with_a_key_it_does_not_matter_by_which_name(
    access: Access, make_key: MakeKey
) -> None:
    headers = {"host": "dermserve.clinic.example", "x-api-key": make_key().text}
    assert (await access.authorise(headers, Role.ADMIN)).key is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "dermserve.clinic.example", ""])
def test_a_public_server_without_a_key_does_not_start(ring: KeyRing, host: str) -> None:
    with pytest.raises(InvalidConfiguration, match="dermserve keys create"):
        Access(ring, ServeSettings(), host)


async def test_a_public_server_asks_for_its_keys(make_key: MakeKey, ring: KeyRing) -> None:
    created = make_key(Role.PREDICT)
    access = Access(ring, ServeSettings(), "0.0.0.0")
    with pytest.raises(Unauthenticated):
        await access.authorise({"host": "localhost"}, "a key")
    assert (await access.authorise({"x-api-key": created.text}, Role.PREDICT)).key is not None


@pytest.mark.parametrize("tls_host", ["0.0.0.0", "::", "192.168.1.5"])
async def test_behind_an_edge_that_others_reach_loopback_is_not_enough(
    ring: KeyRing, make_key: MakeKey, tls_host: str
) -> None:
    """Whoever comes through the edge comes from loopback, under any name that they choose."""
    with pytest.raises(InvalidConfiguration, match=rf"HTTPS.*{tls_host}.*{TLS_HOST_VARIABLE}"):
        Access(ring, ServeSettings(), "127.0.0.1", tls_host)
    created = make_key(Role.PREDICT)
    access = Access(ring, ServeSettings(), "127.0.0.1", tls_host)
    with pytest.raises(Unauthenticated):
        await access.authorise({"host": "localhost"}, Role.PREDICT)
    assert (await access.authorise({"x-api-key": created.text}, Role.PREDICT)).key is not None


async def test_an_edge_on_loopback_is_for_this_machine_too(ring: KeyRing) -> None:
    access = Access(ring, ServeSettings(), "127.0.0.1", "127.0.0.1")
    assert (await access.authorise({"host": "localhost"}, Role.PREDICT)).key is None


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        ({}, None),
        ({TLS_CERTIFICATE_VARIABLE: ""}, None),
        ({TLS_HOST_VARIABLE: "0.0.0.0"}, None),  # nothing is encrypted, and `dermserve up` refuses
        ({TLS_CERTIFICATE_VARIABLE: "a.pem"}, "0.0.0.0"),
        ({TLS_CERTIFICATE_VARIABLE: "a.pem", TLS_HOST_VARIABLE: ""}, "0.0.0.0"),
        ({TLS_CERTIFICATE_VARIABLE: "a.pem", TLS_HOST_VARIABLE: "::1"}, "::1"),
    ],
)
def test_where_https_is_answered(environment: dict[str, str], host: str | None) -> None:
    assert tls_host_of(environment) == host


async def test_a_replica_goes_by_the_edge_in_front_of_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = SimpleNamespace(http_config=SimpleNamespace(host="127.0.0.1"))
    monkeypatch.setattr("ray.serve.context._get_global_client", lambda: serve)
    monkeypatch.setattr(KeyRing, "watch", KeyRing.refresh)  # without its thread
    monkeypatch.delenv(TLS_HOST_VARIABLE, raising=False)
    monkeypatch.delenv(TLS_CERTIFICATE_VARIABLE, raising=False)
    here = await open_access(ServeSettings()).authorise({"host": "localhost"}, "a key")
    assert here.key is None
    monkeypatch.setenv(TLS_CERTIFICATE_VARIABLE, "server.pem")
    with pytest.raises(InvalidConfiguration, match=r"HTTPS is answered on 0\.0\.0\.0"):
        open_access(ServeSettings())
    monkeypatch.setenv(TLS_HOST_VARIABLE, "127.0.0.1")
    open_access(ServeSettings())


async def test_without_a_catalogue_nobody_is_let_in_until_it_is_back(
    keys: Keys, make_key: MakeKey
) -> None:
    created = make_key(Role.PREDICT)
    ring = KeyRing(keys)  # that could not read yet
    for host in ("127.0.0.1", "0.0.0.0"):
        access = Access(ring, ServeSettings(), host)
        for headers in ({"host": "localhost"}, {"x-api-key": created.text}):
            with pytest.raises(CatalogueUnavailable, match="cannot be read yet"):
                await access.authorise(headers, Role.PREDICT)
    ring.refresh()
    with pytest.raises(Unauthenticated):
        await access.authorise({"host": "localhost"}, Role.PREDICT)
    assert (await access.authorise({"x-api-key": created.text}, Role.PREDICT)).key is not None


async def test_a_public_server_stays_closed_if_the_catalogue_comes_back_without_keys(
    keys: Keys,
) -> None:
    ring = KeyRing(keys)
    access = Access(ring, ServeSettings(), "0.0.0.0")
    ring.refresh()
    with pytest.raises(Unauthenticated, match="dermserve keys create"):
        await access.authorise({"host": "localhost"}, Role.PREDICT)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.1")],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


async def test_each_key_has_its_own_budget(access: Access, make_key: MakeKey) -> None:
    few, many = make_key(requests_per_minute=2), make_key()
    headers = {"x-api-key": few.text}
    for _ in range(2):
        await access.authorise(headers, "a key")
    with pytest.raises(RateLimited, match="2 requests in a minute") as refused:
        await access.authorise(headers, "a key")
    assert 1 <= (refused.value.retry_after_s or 0) <= 60
    for _ in range(20):
        await access.authorise({"x-api-key": many.text}, "a key")


async def test_bytes_are_a_budget_of_their_own(access: Access, make_key: MakeKey) -> None:
    headers = {"x-api-key": make_key(bytes_per_minute=MIB).text}
    await access.authorise(headers, "a key", MIB // 2)
    with pytest.raises(RateLimited, match="1 MiB in a minute"):
        await access.authorise(headers, "a key", MIB // 2 + 100_000)
    with pytest.raises(BodyTooLarge, match="1 MiB in a minute"):
        await access.authorise(headers, "a key", MIB + 1)
    await access.authorise(headers, "a key", 0)  # a request without a body has room


async def test_a_request_that_is_refused_for_its_role_costs_nothing(
    access: Access, make_key: MakeKey
) -> None:
    headers = {"x-api-key": make_key(Role.PREDICT, requests_per_minute=1).text}
    for _ in range(3):
        with pytest.raises(Forbidden):
            await access.authorise(headers, Role.ADMIN)
    await access.authorise(headers, Role.PREDICT)


def test_the_default_throttles_nothing_that_a_replica_could_answer() -> None:
    settings = ServeSettings()
    assert settings.key_requests_per_minute == 60_000
    assert settings.key_bytes_per_minute == 16 * 1024 * MIB
