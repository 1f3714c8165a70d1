"""The server goes away and comes back: the page says so, and goes on by itself."""

from __future__ import annotations

from playwright.sync_api import expect

from data.synthetic import synthetic_jpeg
from tests.dashboard.browser import TITLES, Dashboard
from tests.dashboard.forwarder import Forwarder


def test_the_server_is_away_and_comes_back(dashboard: Dashboard, way: Forwarder) -> None:
    dashboard.open()
    way.cut()
    try:
        dashboard.sees("The server does not answer")
        picture = synthetic_jpeg("nv", seed=73_001)
        dashboard.give("A picture from your disk", ("lesion.jpg", picture))
        dashboard.sees("Waiting for the server")
        dashboard.assert_no_traceback()
    finally:
        way.open()
    # Nobody touches the page: it notices, and answers what was asked meanwhile.
    expect(dashboard.page.locator(".verdict")).to_be_visible()
    expect(dashboard.page.get_by_text("The server does not answer")).to_have_count(0)


def test_pages_that_are_opened_without_a_server(dashboard: Dashboard, way: Forwarder) -> None:
    way.cut()
    try:
        for path in TITLES:
            dashboard.open(path)
            dashboard.sees("The server does not answer")
            dashboard.assert_no_traceback()
    finally:
        way.open()
    # The last of them is the status page, which fills by itself.
    expect(dashboard.page.get_by_text("The server does not answer")).to_have_count(0)
    expect(dashboard.page.locator("dl.figures").first).to_contain_text("Ready")
