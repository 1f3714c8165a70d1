"""A batch in the browser: files and archives in, a table, a CSV and a confusion matrix out."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from tests.dashboard.browser import Dashboard

_PICTURES = "Pictures, or zip archives of them"


def _zip(*members: tuple[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return written.getvalue()


def test_thirty_files_of_which_two_are_broken(
    dashboard: Dashboard, screenshot: Callable[[Dashboard, str], None]
) -> None:
    names = {f"lesion-{number:02}.jpg": CLASSES[number % 7] for number in range(28)}
    files = [
        (name, synthetic_jpeg(code, seed=71_000 + number, width=300, height=225))
        for number, (name, code) in enumerate(names.items())
    ]
    broken = [("=cmd|'/c calc'!A1.jpg", b"no picture"), ("cut.jpg", files[0][1][:2000])]
    labels = "file,label\n" + "".join(f"{name},{code}\n" for name, code in names.items())
    dashboard.open("batch")
    dashboard.give("Labels, if they are known", ("labels.csv", labels.encode()))
    dashboard.give(_PICTURES, *files[:14], *broken, *files[14:])
    dashboard.press("Classify 30 pictures")
    dashboard.sees("28 pictures classified")
    dashboard.sees("2 files could not be classified")
    dashboard.sees("Confusion matrix")
    dashboard.settle()
    with dashboard.page.expect_download() as download:
        dashboard.press("Download 30 rows")
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert [row["file"] for row in rows if row["error"]] == ["'=cmd|'/c calc'!A1.jpg", "cut.jpg"]
    assert {row["label"] for row in rows if not row["error"]} == set(CLASSES)
    assert all(0 <= float(row["confidence"]) <= 1 for row in rows if not row["error"])
    expect(dashboard.page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    assert dashboard.serious_findings() == []
    screenshot(dashboard, "batch")
    dashboard.page.get_by_role("radio", name="Failed").click()
    expect(dashboard.page.get_by_role("button", name="Download 2 rows")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.zip", _zip(), "The archive is empty"),
        ("broken.zip", b"PK\x03\x04 and nothing more", "This is no zip archive"),
        ("slip.zip", _zip(("../x.jpg", b"x")), "leads out of the archive"),
        ("bomb.zip", _zip(("bomb.jpg", bytes(60_000_000))), "as no picture does"),
    ],
    ids=["empty", "broken", "zip slip", "bomb"],
)
def test_a_hostile_archive(dashboard: Dashboard, name: str, data: bytes, said: str) -> None:
    dashboard.open("batch")
    dashboard.give(_PICTURES, (name, data))
    dashboard.press("Classify 1 picture")
    dashboard.sees("1 file could not be classified")
    with dashboard.page.expect_download() as download:
        dashboard.press("Download 1 row")
    assert said in download.value.path().read_text("utf-8-sig")


def test_a_label_outside_the_seven(dashboard: Dashboard) -> None:
    dashboard.open("batch")
    table = b"file,label\nlesion.jpg,cancer\n"
    dashboard.give("Labels, if they are known", ("labels.csv", table))
    dashboard.sees("Line 2: 'cancer' is none of the seven classes. Use one of akiec")
