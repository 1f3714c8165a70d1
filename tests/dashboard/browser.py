"""A browser on the dashboard: what tests do with a page, and what may not happen on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, FilePayload, Locator, Page, Request, expect

TIMEOUT_MS = 60_000
"""For whatever a page waits for; the machine may be busy with other tests."""

# Streamlit's own page looks for its server below the page's path before it tries the root.
_PROBES = ("/_stcore/health", "/_stcore/host-config")

TITLES = {
    "": "Single prediction",
    "batch": "Batch prediction",
    "review": "Review queue",
    "learning": "Upload and retraining",
    "model": "Data and model",
    "status": "Status",
}
"""Headings of the pages, by path."""


@dataclass
class Seen:
    """What a page did that nobody sees on it."""

    errors: list[str] = field(default_factory=list)
    """Of the console, and uncaught ones."""
    foreign: list[str] = field(default_factory=list)
    """Requests that left the machine."""

    def watch(self, page: Page) -> None:
        """Take notes from now on."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        probe = urlsplit(message.location["url"]).path.endswith(_PROBES)
        if not probe:
            self.errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1":
            self.foreign.append(request.url)


@dataclass
class Dashboard:
    """A page of the running dashboard."""

    page: Page
    url: str
    seen: Seen

    def open(self, path: str = "") -> None:
        """Open a page, and wait until it has settled."""
        self.page.goto(f"{self.url}/{path}")
        expect(self.page.get_by_role("heading", level=1)).to_have_text(
            TITLES[path], timeout=TIMEOUT_MS
        )
        self.settle()

    def settle(self) -> None:
        """Wait until Streamlit has run the script to its end."""
        app = self.page.get_by_test_id("stApp")
        expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=TIMEOUT_MS)

    def sees(self, text: str) -> Locator:
        """Wait for a text."""
        found = self.page.get_by_text(text).first
        expect(found).to_be_visible(timeout=TIMEOUT_MS)
        return found

    def give(self, label: str, *files: tuple[str, bytes] | Path) -> None:
        """Put files into the field of that label."""
        field_of = self.page.get_by_test_id("stFileUploader").filter(has_text=label)
        paths = [each for each in files if isinstance(each, Path)]
        made: list[FilePayload] = [
            {"name": each[0], "mimeType": "application/octet-stream", "buffer": each[1]}
            for each in files
            if not isinstance(each, Path)
        ]
        field_of.locator("input[type=file]").set_input_files(paths or made)

    def choose(self, label: str, option: str) -> None:
        """Choose from the list of that label."""
        self.page.get_by_role("combobox", name=label).click()
        self.page.get_by_role("option", name=option).first.click()
        self.settle()

    def unfold(self, name: str) -> None:
        """Open a part of the page that is folded."""
        self.page.locator("summary", has_text=name).click()
        self.settle()

    def press(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name).first.click()

    def serious_findings(self) -> list[str]:
        """What axe finds serious or critical about the page as it is."""
        violations = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {each['help']}; {each['nodes'][0]['html'][:200]}"
            for each in violations
            if each["impact"] in ("serious", "critical")
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the screen, or than what scrolls in it."""
        return int(
            self.page.evaluate(
                """() => Math.max(
                    ...[document.documentElement, document.querySelector('[data-testid=stMain]')]
                        .map(each => each.scrollWidth - each.clientWidth)
                )"""
            )
        )

    def assert_no_traceback(self) -> None:
        """No error of Python, and nothing of where it lies, is on the page."""
        text = self.page.inner_text("body")
        assert "Traceback" not in text
        assert ".py" not in text
        assert self.page.get_by_test_id("stException").count() == 0
