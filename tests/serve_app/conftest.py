"""The HTTP API over a chain in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from models.package import ModelPackage
from serve_app.api import create_api
from serve_app.settings import ServeSettings
from tests.serve_app.chain import InProcessChain

SETTINGS = ServeSettings(max_batch_size=2, max_image_bytes=200_000, max_batch_bytes=500_000)
"""Small limits, so that the tests reach them with small bodies; four files at most."""


@pytest.fixture(scope="module")
def settings() -> ServeSettings:
    return SETTINGS


@pytest.fixture(scope="module")
def chain(champion: ModelPackage, settings: ServeSettings) -> InProcessChain:
    return InProcessChain(champion, settings)


@pytest.fixture
async def api(chain: InProcessChain, settings: ServeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API; a bug inside is answered and not raised."""
    app = create_api(chain, settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://dermserve") as client:
        yield client
    chain.error = None
