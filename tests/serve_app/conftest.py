"""The HTTP API over a chain, an archive and a trainer in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.catalogue.keys import Keys
from data.image_store import IMAGES_VARIABLE
from models.package import ModelPackage
from serve_app.access.access import Access
from serve_app.access.key_ring import KeyRing
from serve_app.api import create_api
from serve_app.archive import Archive
from serve_app.archive_client import ArchiveClient
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.serve_app.chain import InProcessChain
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.trainer import InProcessTrainer

SETTINGS = ServeSettings(
    max_batch_size=2, max_image_bytes=200_000, max_batch_bytes=500_000, max_upload_bytes=2_000_000
)
"""Small limits, so that the tests reach them with small bodies; four files at most, or sixteen
in an upload."""


@pytest.fixture(scope="module")
def settings() -> ServeSettings:
    return SETTINGS


@pytest.fixture(scope="module")
def chain(champion: ModelPackage, settings: ServeSettings) -> InProcessChain:
    return InProcessChain(champion, settings)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the catalogue and the images."""
    monkeypatch.setenv(CATALOGUE_VARIABLE, f"sqlite:///{tmp_path / 'catalogue.db'}")
    monkeypatch.setenv(IMAGES_VARIABLE, str(tmp_path / "images"))
    return tmp_path


@pytest.fixture
def database(storage: Path) -> Iterator[Database]:
    """The catalogue in `storage`."""
    database = Database()
    yield database
    database.close()


@pytest.fixture
def archive(chain: InProcessChain, settings: ServeSettings, storage: Path) -> Iterator[Archive]:
    handle: Any = InProcessHandle(chain.preprocessor)
    archive = Archive(handle, settings)
    yield archive
    archive._pixels.shutdown()
    archive._catalogue.shutdown()
    archive._archivist._uploads._database.close()


@pytest.fixture
def trainer(database: Database, champion: ModelPackage) -> InProcessTrainer:
    return InProcessTrainer(database, champion)


@pytest.fixture
def archive_client(archive: Archive, settings: ServeSettings) -> ArchiveClient:
    handle: Any = InProcessHandle(archive)
    return ArchiveClient(handle, settings)


@pytest.fixture
def trainer_client(trainer: InProcessTrainer) -> TrainerClient:
    handle: Any = InProcessHandle(trainer)
    return TrainerClient(lambda: handle)


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


@pytest.fixture
def ring(keys: Keys) -> KeyRing:
    """Refresh it once the keys are made."""
    ring = KeyRing(keys)
    ring.refresh()
    return ring


@pytest.fixture
def access(ring: KeyRing, settings: ServeSettings) -> Access:
    """Of a server that only this machine reaches, without keys until some are made."""
    return Access(ring, settings, "127.0.0.1")


@pytest.fixture
async def api(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    settings: ServeSettings,
    access: Access,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API; a bug inside is answered and not raised."""
    app = create_api(chain, archive_client, trainer_client, settings, access)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
    chain.error = None
