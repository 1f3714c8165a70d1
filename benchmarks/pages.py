"""Pages: how long the web dashboard lets people wait, in a real browser before a running one."""

from __future__ import annotations

import shutil
import statistics
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track
from rich.table import Table

from benchmarks.command import run
from benchmarks.screen import screen
from models.errors import DermServeError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES = ("", "batch", "review", "learning", "model", "status")
_WIDE = {"width": 1280, "height": 900}
_RUN_ENDED = "[data-testid=stApp][data-test-script-state=notRunning]"
_FIRST_PAINT = """() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"""


class NoBrowser(DermServeError):
    """There is nothing to open pages with."""


def main(
    url: Annotated[str, typer.Option(help="Of the dashboard.")] = "http://127.0.0.1:8501",
    rounds: Annotated[int, typer.Option(min=1, help="Medians are taken over these.")] = 7,
) -> None:
    """Open every page with an empty cache, and predict a sample; seconds as a reader feels them.

    Painted: something is to be seen (First Contentful Paint). Complete: the page has all it shows,
    answers of the server included. Predicted: from the choice of a sample to the verdict.

    Example: make serve DASHBOARD=1, and elsewhere python -m benchmarks.pages
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowser("Playwright is missing; pip install playwright brings it.") from None
    if chromium is None:
        raise NoBrowser("There is no Chromium; apt-get install chromium brings it.")
    painted: dict[str, list[float]] = {page: [] for page in PAGES}
    complete: dict[str, list[float]] = {page: [] for page in PAGES}
    predicted: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for _ in track(range(rounds), "Measuring"):
            for path in PAGES:
                context_painted, context_complete = _open(browser, f"{url}/{path}")
                painted[path].append(context_painted)
                complete[path].append(context_complete)
            predicted.append(_predict(browser, url))
        browser.close()
    screen().print(table(painted, complete))
    screen().print(f"Predicted: {_summary(predicted)} s")


def _fresh(browser: Browser) -> Page:
    return browser.new_context(viewport=_WIDE).new_page()  # type: ignore[arg-type]


def _open(browser: Browser, url: str) -> tuple[float, float]:
    """Seconds to the first paint and to the complete page."""
    page = _fresh(browser)
    began = time.perf_counter()
    page.goto(url)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_selector(_RUN_ENDED)
    complete = time.perf_counter() - began
    painted = float(page.evaluate(_FIRST_PAINT)) / 1000
    page.context.close()
    return painted, complete


def _predict(browser: Browser, url: str) -> float:
    """Seconds from the choice of a sample to its verdict."""
    page = _fresh(browser)
    page.goto(url)
    page.get_by_role("combobox", name="Or a computed sample").click()
    option = page.get_by_role("option").first
    option.wait_for()
    began = time.perf_counter()
    option.click()
    page.locator(".verdict").wait_for()
    seconds = time.perf_counter() - began
    page.context.close()
    return seconds


def table(painted: dict[str, list[float]], complete: dict[str, list[float]]) -> Table:
    """Medians and ranges by page, in seconds."""
    found = Table("page", "painted, s", "complete, s")
    for path in painted:
        found.add_row(f"/{path}", _summary(painted[path]), _summary(complete[path]))
    return found


def _summary(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    run(main)
