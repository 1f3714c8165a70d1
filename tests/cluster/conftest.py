"""A shell, and in front of it the real HTTP API over a chain in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from data.synthetic import synthetic_jpeg
from serve_app.access.access import Access
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.cluster.command_line import Shell
from tests.conftest import free_port
from tests.serve_app.chain import InProcessChain
from tests.serve_app.conftest import (  # noqa: F401
    access,
    archive,
    archive_client,
    chain,
    database,
    keys,
    ring,
    settings,
    storage,
    trainer,
    trainer_client,
)
from tests.waiting import wait_until


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Wide, and without an address or a key of whoever runs the tests."""
    monkeypatch.setenv("COLUMNS", "300")
    for name in ("DERMSERVE_URL", "DERMSERVE_API_KEY", "RAY_DASHBOARD_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capsys)


@pytest.fixture
def api_url(
    chain: InProcessChain,  # noqa: F811
    archive_client: ArchiveClient,  # noqa: F811
    trainer_client: TrainerClient,  # noqa: F811
    settings: ServeSettings,  # noqa: F811
    access: Access,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    shell: Shell,
) -> Iterator[str]:
    """The API on a port of this machine, as the commands find it: in DERMSERVE_URL."""
    app = create_api(chain, archive_client, trainer_client, settings, access)
    port = free_port()
    # No proxy passes the requests on, so nobody but this process names the ids.
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), "it does not start")
    assert thread.is_alive()
    monkeypatch.setenv("DERMSERVE_URL", f"http://127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()
    chain.error = None


HOSTILE = "a [red]b \x1b[31mc\nd \u202egpj.jpg"
"""A name that rich would colour, a terminal would colour, and a reader would read backwards."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with good pictures, also below it, and some that are none."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, name in enumerate(("a.jpg", "b.JPEG", "below/c.jpg")):
        (folder / name).write_bytes(synthetic_jpeg("nv", seed=500 + number, width=120, height=90))
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden" / "x.jpg").write_bytes(b"never looked at")
    return folder
