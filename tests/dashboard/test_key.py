"""A server that wants API keys: the page says so, and takes one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from tests.dashboard.browser import Dashboard, Seen
from tests.dashboard.keyed import KEY, KeyedServer
from tests.dashboard.streamlit_process import running_dashboard


@pytest.fixture
def keyed(server: LocalServer) -> Iterator[KeyedServer]:
    guard = KeyedServer(server.url)
    yield guard
    guard.stop()


def test_a_key_is_asked_for_and_used(chromium: Browser, keyed: KeyedServer, tmp_path: Path) -> None:
    picture = ("lesion.jpg", synthetic_jpeg("nv", seed=75_001))
    with running_dashboard(keyed.url, tmp_path) as url, chromium.new_context() as context:
        dashboard = Dashboard(context.new_page(), url, Seen())
        dashboard.seen.watch(dashboard.page)
        dashboard.open()
        dashboard.give("A picture from your disk", picture)
        dashboard.sees("The server wants an API key for this")
        dashboard.unfold("API key")
        field = dashboard.page.get_by_placeholder("Paste a key")
        field.fill("another-key")
        field.press("Enter")
        dashboard.sees("The API key lacks the role predict. Another key can be entered")
        field.fill(KEY)
        field.press("Enter")
        expect(dashboard.page.locator(".verdict")).to_be_visible()
        # It is nowhere on the page, and forgotten when asked to.
        assert KEY not in dashboard.page.content()
        dashboard.press("Forget the key")
        dashboard.sees("Only a server with keys asks for one")
        assert dashboard.seen.errors == []
