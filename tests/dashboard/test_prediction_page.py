"""A single prediction in the browser: from a file to its answer, its map and a correction."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from tests.dashboard.browser import Dashboard
from tests.dashboard.conftest import NARROW, OpenDashboard

_PICTURE = "A picture from your disk"


def test_a_picture_is_classified(at_width: OpenDashboard, server: LocalServer) -> None:
    dashboard = at_width(NARROW)
    picture = synthetic_jpeg("mel", seed=70_001)
    expected = httpx.post(f"{server.url}/predict", content=picture).json()
    dashboard.open()
    dashboard.give(_PICTURE, ("lesion.jpg", picture))
    verdict = dashboard.page.locator(".verdict")
    expect(verdict).to_contain_text(expected["class_name"])
    expect(verdict).to_contain_text(expected["diagnosis"]["recommendation"])
    rows = dashboard.page.locator("table.bars tbody tr")
    expect(rows).to_have_count(7)
    figures = [
        float(re.sub(r"[^\d.]", "", text))
        for text in dashboard.page.locator("table.bars .figure").all_inner_texts()
    ]
    assert figures == sorted(figures, reverse=True)
    dashboard.sees("operating point")
    dashboard.sees("Neural network")
    assert dashboard.overflow() <= 0
    assert dashboard.serious_findings() == []


def test_a_sample_and_where_the_evidence_lay(
    dashboard: Dashboard, screenshot: Callable[[Dashboard, str], None]
) -> None:
    dashboard.open()
    dashboard.choose("Or a computed sample", "Melanoma")
    expect(dashboard.page.locator(".verdict")).to_be_visible()
    dashboard.sees("This picture was computed")
    dashboard.page.get_by_text("Show where the evidence lay").click()
    expect(dashboard.page.get_by_alt_text("Grad-CAM map")).to_be_visible()
    dashboard.settle()
    dashboard.unfold("This is wrong")
    dashboard.sees("A computed sample is nothing to learn from")
    assert dashboard.serious_findings() == []
    screenshot(dashboard, "prediction")


def test_a_wrong_answer_is_sent_to_the_queue(dashboard: Dashboard, server: LocalServer) -> None:
    before = _waiting(server)
    dashboard.open()
    dashboard.give(_PICTURE, ("lesion.jpg", synthetic_jpeg("bcc", seed=70_002)))
    expect(dashboard.page.locator(".verdict")).to_be_visible()
    dashboard.settle()
    dashboard.unfold("This is wrong")
    dashboard.press("Send")
    dashboard.sees("it waits in the review queue")
    assert _waiting(server) == before + 1


def _waiting(server: LocalServer) -> int:
    answer = httpx.get(f"{server.url}/uploads", params={"status": "needs_label"}).json()
    return int(answer["total"])


def _png(side: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (side, side), "pink").save(written, "PNG")
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("notes.jpg", b"Dear colleague, this is no picture.\n" * 20, "Choose another file"),
        ("half.jpg", synthetic_jpeg("nv", seed=70_003)[:20_000], "Choose another file"),
        ("tiny.png", _png(4), "Choose another file"),
        ("script.jpg", b"<script>alert(1)</script>", "Choose another file"),
    ],
    ids=["renamed text", "cut off", "too small", "script"],
)
def test_what_is_no_picture(dashboard: Dashboard, name: str, data: bytes, said: str) -> None:
    dashboard.open()
    dashboard.give(_PICTURE, (name, data))
    dashboard.sees(said)
    assert dashboard.page.locator(".verdict").count() == 0


def test_a_file_of_50_megabytes(dashboard: Dashboard, tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes(50_000_000))
    dashboard.open()
    dashboard.give(_PICTURE, path)
    dashboard.sees("Save the picture smaller")
