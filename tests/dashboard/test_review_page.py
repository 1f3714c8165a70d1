"""The review queue in the browser: labels by keyboard, the model's opinion on request, undo."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import expect

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from tests.dashboard.browser import Dashboard
from tests.waiting import wait_until


@pytest.fixture
def waiting(server: LocalServer) -> Iterator[list[str]]:
    """Two pictures alone in the queue."""
    with httpx.Client(base_url=server.url, timeout=60) as http:
        _empty(http)
        files = [
            ("files", (f"{seed}.jpg", synthetic_jpeg("nv", seed=seed))) for seed in (72_001, 72_002)
        ]
        results = http.post("/upload/bulk", files=files).json()["results"]
        ids = [str(result.get("id") or result["duplicate_of"]) for result in results]
        for each in ids:
            http.patch(f"/uploads/{each}", json={"label": None, "label_source": None})
        yield ids
        for each in ids:
            http.delete(f"/uploads/{each}")


def _empty(http: httpx.Client) -> None:
    def emptied() -> bool:
        uploads = http.get("/uploads", params={"status": "needs_label"}).json()["uploads"]
        for each in uploads:
            http.delete(f"/uploads/{each['id']}").raise_for_status()
        return not uploads

    wait_until(emptied, "there are more and more")


def test_labels_by_keyboard(
    dashboard: Dashboard,
    server: LocalServer,
    waiting: list[str],
    screenshot: Callable[[Dashboard, str], None],
) -> None:
    dashboard.open("review")
    dashboard.sees("2 pictures wait for a label")
    expect(dashboard.page.get_by_alt_text("The picture to label")).to_be_visible()
    assert dashboard.page.locator("table.bars").count() == 0
    expect(dashboard.page.get_by_role("button", name="What does the model say?")).to_be_visible()
    dashboard.settle()
    dashboard.page.keyboard.press("m")
    expect(dashboard.page.locator("table.bars tbody tr")).to_have_count(7)
    assert dashboard.serious_findings() == []
    screenshot(dashboard, "review")

    dashboard.settle()
    dashboard.page.keyboard.press("5")
    dashboard.sees("1 picture waits for a label")
    # What the model says is hidden again with the next picture.
    expect(dashboard.page.locator("table.bars")).to_have_count(0)
    assert sorted(_labels(server, waiting), key=str) == sorted(["mel", None], key=str)

    dashboard.settle()
    dashboard.page.keyboard.press("u")
    dashboard.sees("2 pictures wait for a label")
    assert _labels(server, waiting) == [None, None]


def test_a_skipped_picture_comes_back(dashboard: Dashboard, waiting: list[str]) -> None:
    dashboard.open("review")
    dashboard.sees("2 pictures wait for a label")
    picture = dashboard.page.get_by_alt_text("The picture to label")
    first = picture.get_attribute("src") or ""
    dashboard.press("Skip")
    expect(picture).not_to_have_attribute("src", first)
    dashboard.settle()
    dashboard.press("Skip")
    dashboard.sees("All that is left was skipped")
    dashboard.press("Look at the skipped ones")
    expect(picture).to_be_visible()


def test_a_picture_is_removed_after_a_question(
    dashboard: Dashboard, server: LocalServer, waiting: list[str]
) -> None:
    dashboard.open("review")
    dashboard.sees("2 pictures wait for a label")
    dashboard.press("Remove ...")
    dialog = dashboard.page.get_by_role("dialog")
    expect(dialog).to_contain_text("cannot be undone")
    dialog.get_by_role("button", name="Remove", exact=True).click()
    dashboard.sees("1 picture waits for a label")
    left = [httpx.get(f"{server.url}/uploads/{each}").status_code for each in waiting]
    assert sorted(left) == [200, 404]


def _labels(server: LocalServer, ids: list[str]) -> list[str | None]:
    return [httpx.get(f"{server.url}/uploads/{each}").json()["label"] for each in ids]
