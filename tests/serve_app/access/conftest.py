"""A key for each role, and the API over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvicorn

from data.catalogue.api_key import Role
from data.catalogue.keys import CreatedKey, Keys
from serve_app.access.access import Access
from serve_app.access.key_ring import KeyRing
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.serve_app.chain import InProcessChain
from tests.waiting import until

MakeKey = Callable[..., CreatedKey]


@pytest.fixture
def make_key(keys: Keys, ring: KeyRing) -> MakeKey:
    """Makes a key that the ring knows at once."""

    def make(*roles: Role, **limits: int) -> CreatedKey:
        created = keys.create("a test", roles or tuple(Role), "test", **limits)
        ring.refresh()
        return created

    return make


@pytest.fixture
async def url(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    settings: ServeSettings,
    access: Access,
) -> AsyncIterator[str]:
    """Where the API listens, behind the HTTP server that Serve uses."""
    app = create_api(chain, archive_client, trainer_client, settings, access)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started or serving.done(), "it does not start", pause_s=0.01)
    assert not serving.done()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client
