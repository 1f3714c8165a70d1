"""The dashboard in a process of its own, and Chromium in front of it."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from cluster.server import LocalServer
from models.package import BUNDLED_CHAMPION, CHAMPION_VARIABLE
from tests.conftest import PROJECT
from tests.dashboard.browser import TIMEOUT_MS, Dashboard, Seen
from tests.dashboard.forwarder import Forwarder
from tests.dashboard.streamlit_process import running_dashboard

SCREENSHOTS_VARIABLE = "DERMSERVE_SCREENSHOTS"
"""Set to anything, the tests write a picture of every page to `docs/screenshots`."""

WIDE, NARROW = 1280, 390
_HEIGHTS = {WIDE: 900, NARROW: 844}
_TALLEST = 5000
_DRAWN_MS = 1500
"""Until charts are drawn anew; nothing tells when they are."""


@pytest.fixture(autouse=True)
def real_main_module() -> Iterator[None]:
    """Streamlit puts the page that it runs in place of `__main__`; a process that is spawned later
    in the session would import the page."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def serving_tiny(serving_tiny: dict[str, str]) -> dict[str, str]:
    """The tiny package; for pictures, the model that ships, which has more to show."""
    if not os.environ.get(SCREENSHOTS_VARIABLE):
        return serving_tiny
    return {**serving_tiny, CHAMPION_VARIABLE: str(BUNDLED_CHAMPION)}


@pytest.fixture(scope="session")
def serve_config_file(serve_config_file: Path) -> Path:
    """A gate that lets all pass; for pictures, the real one."""
    if not os.environ.get(SCREENSHOTS_VARIABLE):
        return serve_config_file
    return PROJECT / "serve_config.yaml"


@pytest.fixture(scope="session")
def way(server: LocalServer) -> Iterator[Forwarder]:
    """The way from the dashboard to the server."""
    forwarder = Forwarder(urlsplit(server.url).port or 0)
    forwarder.open()
    yield forwarder
    forwarder.cut()


@pytest.fixture(scope="session")
def dashboard_url(way: Forwarder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The running dashboard."""
    folder = tmp_path_factory.mktemp("dashboard")
    with running_dashboard(f"http://127.0.0.1:{way.port}", folder) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Of one module: while Playwright runs, no other test can run an event loop."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium; `apt-get install chromium` brings it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        expect.set_options(timeout=TIMEOUT_MS)
        yield browser
        browser.close()


OpenDashboard = Callable[[int], Dashboard]


@pytest.fixture
def at_width(chromium: Browser, dashboard_url: str) -> Iterator[OpenDashboard]:
    """Opens a fresh browser of a width; nothing may go wrong in it behind the reader's back."""
    opened: list[Dashboard] = []

    def open_dashboard(width: int) -> Dashboard:
        context = chromium.new_context(viewport={"width": width, "height": _HEIGHTS[width]})
        context.set_default_timeout(TIMEOUT_MS)
        seen = Seen()
        page = context.new_page()
        seen.watch(page)
        opened.append(Dashboard(page, dashboard_url, seen))
        return opened[-1]

    yield open_dashboard
    for each in opened:
        each.assert_no_traceback()
        each.page.context.close()
        assert each.seen.errors == []
        assert each.seen.foreign == []


@pytest.fixture
def dashboard(at_width: OpenDashboard) -> Dashboard:
    """A wide one."""
    return at_width(WIDE)


@pytest.fixture
def screenshot() -> Callable[[Dashboard, str], None]:
    """Writes pictures of a whole page, wide and narrow, if pictures are asked for."""

    def write(dashboard: Dashboard, name: str) -> None:
        if not os.environ.get(SCREENSHOTS_VARIABLE):
            return
        page, before = dashboard.page, dashboard.page.viewport_size
        assert before is not None
        folder = PROJECT / "docs" / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        for width in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": _HEIGHTS[width]})
            page.wait_for_timeout(_DRAWN_MS)
            tall = int(
                page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
            )
            page.set_viewport_size({"width": width, "height": min(tall, _TALLEST)})
            page.mouse.move(0, 0)
            page.wait_for_timeout(_DRAWN_MS)
            with Image.open(io.BytesIO(page.screenshot())) as picture:
                # 256 colours are enough, and a third of the bytes.
                picture.convert("RGB").quantize(256).save(
                    folder / f"{name}-{width}.png", optimize=True
                )
        page.set_viewport_size(before)

    return write
