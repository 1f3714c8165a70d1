"""Every page: it loads without an error, fits its screen, and bars nobody."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from cluster.server import LocalServer
from tests.dashboard.browser import TITLES, Dashboard
from tests.dashboard.conftest import NARROW, WIDE, OpenDashboard


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("path", TITLES)
def test_a_page_loads(at_width: OpenDashboard, path: str, width: int) -> None:
    dashboard = at_width(width)
    dashboard.open(path)
    dashboard.sees("For research and education only")
    assert dashboard.page.get_by_test_id("stAlertContentError").count() == 0
    assert dashboard.overflow() <= 0
    assert dashboard.serious_findings() == []


def test_the_status_page_has_numbers(
    dashboard: Dashboard,
    server: LocalServer,
    jpeg: bytes,
    screenshot: Callable[[Dashboard, str], None],
) -> None:
    dashboard.open("status")
    figures = dashboard.page.locator("dl.figures")
    expect(figures.first).to_contain_text("Ready")
    dashboard.sees("Ingress (HTTP)")
    # Two readings make a rate.
    expect(figures.nth(1)).not_to_contain_text("...")
    for _ in range(20):
        assert httpx.post(f"{server.url}/predict", content=jpeg).status_code == 200
    dashboard.sees("answered in the last")
    expect(figures.nth(1)).to_contain_text(re.compile(r"p99\s*[\d.]+\s*m?s"))
    screenshot(dashboard, "status")


def test_the_model_page_says_what_its_charts_show(
    dashboard: Dashboard, screenshot: Callable[[Dashboard, str], None]
) -> None:
    dashboard.open("model")
    for text in ("It finds ", "it says ", "were given the labelled class", "does worst on"):
        dashboard.sees(text)
    for heading in ("Classes", "Sizes of uploaded images", "How long answers take"):
        expect(dashboard.page.get_by_role("heading", name=heading)).to_be_visible()
    charts = dashboard.page.get_by_test_id("stVegaLiteChart")
    expect(charts.nth(4)).to_be_visible()
    with dashboard.page.expect_download() as download:
        dashboard.press("Evaluation report (HTML)")
    assert "<html" in download.value.path().read_text("utf-8")
    screenshot(dashboard, "model")
