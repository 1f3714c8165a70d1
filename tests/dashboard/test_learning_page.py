"""Learning in the browser: uploads with labels, a retraining that ends, a version that changes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import httpx
from playwright.sync_api import expect

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from tests.dashboard.browser import Dashboard
from tests.dashboard.conftest import NARROW, OpenDashboard

_PICTURES = "Pictures to learn from"
_RETRAINED_MS = 180_000


def _champion(server: LocalServer) -> str:
    return str(httpx.get(f"{server.url}/models").json()["champion"])


def _quiet(server: LocalServer) -> None:
    """Wait for what other tests have begun."""
    end = time.monotonic() + _RETRAINED_MS / 1000
    while time.monotonic() < end:
        status = httpx.get(f"{server.url}/retrain/status").json()
        rollout = status["rollout"] or {"state": "completed"}
        if status["state"] == "idle" and rollout["state"] in ("completed", "reverted", "failed"):
            return
        time.sleep(0.2)
    raise TimeoutError("the trainer does not come to rest")


def test_ten_labelled_pictures_lead_to_a_new_version(
    dashboard: Dashboard, server: LocalServer, screenshot: Callable[[Dashboard, str], None]
) -> None:
    _quiet(server)
    before = _champion(server)
    codes = [CLASSES[number % 7] for number in range(10)]
    files = [
        (f"{number}.jpg", synthetic_jpeg(code, seed=74_000 + number))
        for number, code in enumerate(codes)
    ]
    table = "file,label\n" + "".join(
        f"{name},{code}\n" for (name, _), code in zip(files, codes, strict=True)
    )
    dashboard.open("learning")
    dashboard.page.get_by_role("radio", name="A CSV file of labels").check(force=True)
    dashboard.settle()
    dashboard.give("Labels (CSV)", ("labels.csv", table.encode()))
    dashboard.give(_PICTURES, *files)
    dashboard.press("Upload 10 pictures")
    dashboard.sees("Of 10 files: 10 stored with a label")
    # The event stream brings the run, its end and the new version, without a touch.
    expect(dashboard.page.get_by_text(re.compile(r"^Run \d+: "))).to_be_visible()
    ended = dashboard.page.get_by_text(re.compile(r"The last run, \d+: Version \S+ was promoted"))
    expect(ended).to_be_visible(timeout=_RETRAINED_MS)
    dashboard.sees("The challenger passed the gate")
    _quiet(server)
    after = _champion(server)
    assert after != before
    expect(dashboard.page.get_by_role("rowheader", name=f"{after} (serves)")).to_be_visible()
    dashboard.settle()
    assert dashboard.serious_findings() == []
    screenshot(dashboard, "learning")

    dashboard.press(f"Roll back to {before} ...")
    dialog = dashboard.page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Version {before} is to serve again")
    dialog.get_by_role("button", name="Roll back", exact=True).click()
    expect(dashboard.page.get_by_role("rowheader", name=f"{before} (serves)")).to_be_visible(
        timeout=_RETRAINED_MS
    )
    _quiet(server)
    assert _champion(server) == before


def test_a_run_is_started_and_stopped(at_width: OpenDashboard, server: LocalServer) -> None:
    _quiet(server)
    dashboard = at_width(NARROW)
    dashboard.open("learning")
    dashboard.press("Retrain now")
    dashboard.press("Stop the retraining")
    stopped = dashboard.page.get_by_text(re.compile(r"The last run, \d+: It was stopped"))
    expect(stopped).to_be_visible(timeout=_RETRAINED_MS)
    assert dashboard.overflow() <= 0
    _quiet(server)


def test_a_label_outside_the_seven_sends_nothing(dashboard: Dashboard) -> None:
    dashboard.open("learning")
    dashboard.page.get_by_role("radio", name="A CSV file of labels").check(force=True)
    dashboard.settle()
    dashboard.give("Labels (CSV)", ("labels.csv", b"file,label\na.jpg,cancer\n"))
    dashboard.give(_PICTURES, ("a.jpg", synthetic_jpeg("nv", seed=74_500)))
    dashboard.sees("Line 2: 'cancer' is none of the seven classes")
    expect(dashboard.page.get_by_role("button", name="Upload 1 picture")).to_be_disabled()


def test_what_is_no_picture_is_rejected_in_words(dashboard: Dashboard) -> None:
    dashboard.open("learning")
    dashboard.page.get_by_role("radio", name="None; they are to be reviewed").check(force=True)
    source = dashboard.page.get_by_role("combobox", name="How the labels are known")
    expect(source).to_be_disabled()
    dashboard.give(_PICTURES, ("notes.jpg", b"Dear colleague"), ("empty.jpg", b""))
    dashboard.press("Upload 2 pictures")
    dashboard.sees("Of 2 files: 2 rejected.")
