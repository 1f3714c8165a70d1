"""Parts of the views without a browser: what they ask the server for, and what they refuse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import connection
from dermserve_client import Client, Retries
from models.package import BUNDLED_CHAMPION
from tests.dashboard.answers import NOON

REPORT: dict[str, Any] = json.loads((BUNDLED_CHAMPION / "report.json").read_text("utf-8"))
MANIFEST: dict[str, Any] = json.loads((BUNDLED_CHAMPION / "model.json").read_text("utf-8"))


def summary(version: str) -> dict[str, Any]:
    """A version in the server's list."""
    return {
        "version": version,
        "package_hash": version * 64,
        "dataset_hash": "",
        "registered": NOON.isoformat(),
        "metrics": {"balanced_accuracy": 0.75},
        "champion": version == "2",
        "verdict": None,
        "reason": None,
        "replicas": 1,
    }


@dataclass
class Registry:
    """Answers of a server with two versions, and how often each was asked for."""

    asked: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked[path] += 1
        if path == "/models":
            models = [summary("2"), summary("3")]
            answer = {"champion": "2", "previous": None, "models": models, "rollouts": []}
            return httpx.Response(200, json=answer)
        if path == "/retrain/history":
            return httpx.Response(200, json={"runs": [], "next": None})
        if path == "/metrics":
            error = {"code": "not_ready", "message": "No node answers.", "request_id": "r"}
            return httpx.Response(503, json={"error": error})
        if path.endswith("/evaluation"):
            return httpx.Response(200, json=REPORT)
        card = {"manifest": MANIFEST, "card": None, "report": True, "run": None}
        return httpx.Response(200, json=summary(path.rpartition("/")[2]) | card)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """What the views' client talks to."""
    found = Registry()
    client = Client(
        "http://server", transport=httpx.MockTransport(found), retries=Retries(total_s=0)
    )
    monkeypatch.setattr(connection, "_client", lambda url, key: client)
    monkeypatch.setattr(connection, "health", lambda: (None, None))
    st.cache_data.clear()
    st.cache_resource.clear()
    yield found
    st.cache_data.clear()
    st.cache_resource.clear()
    client.close()


def _model_page() -> None:
    from dashboard.connection import client
    from dashboard.views import data_and_model

    data_and_model._model("2", client().models())


def test_a_card_is_fetched_once_and_a_report_kept(registry: Registry) -> None:
    page = AppTest.from_function(_model_page, default_timeout=30).run()
    assert list(page.exception) == []
    assert registry.asked["/models/2"] == 1
    page.run()
    assert registry.asked == {"/models": 2, "/models/2": 2, "/models/2/evaluation": 1}


def _gate_report(champion: str, challenger: str) -> None:
    from dashboard.views import retraining
    from dermserve_client import Run

    run = Run.model_construct(champion_version=champion, challenger_version=challenger)
    retraining._side_by_side(run)


def test_reports_beside_each_other_are_kept(registry: Registry) -> None:
    versions = {"champion": "2", "challenger": "3"}
    page = AppTest.from_function(_gate_report, kwargs=versions, default_timeout=30).run()
    page.run()
    assert list(page.exception) == []
    assert [each.value for each in page.caption] == [
        "On the frozen test images, the same for both. In brackets, 95 % intervals."
    ]
    assert registry.asked["/models/2/evaluation"] == 1
    assert registry.asked["/models/3/evaluation"] == 1


def test_a_version_that_is_gone_is_not_compared(registry: Registry) -> None:
    versions = {"champion": "2", "challenger": "9"}
    page = AppTest.from_function(_gate_report, kwargs=versions, default_timeout=30).run()
    assert list(page.exception) == []
    assert "not in the registry" in page.caption[0].value


def _live_metrics() -> None:
    from dashboard.views import status

    status._live()


def test_everybody_sees_why_there_are_no_metrics(registry: Registry) -> None:
    for _ in range(2):
        page = AppTest.from_function(_live_metrics, default_timeout=30).run()
        assert list(page.exception) == []
        assert [each.value for each in page.error] == [r"No node answers\."]
    assert registry.asked["/metrics"] == 2


def _learning_page() -> None:
    """The part that is live, and below it something to press."""
    from types import SimpleNamespace
    from unittest.mock import Mock, patch

    import streamlit as st

    from dashboard.views import retraining

    ended = st.session_state["rollouts_ended"]
    status: Any = SimpleNamespace(
        waiting=SimpleNamespace(new_images=0, threshold=10, missing=10, classes_missing=[]),
        run=None,
        last=None,
        rollout=SimpleNamespace(id=ended, state="completed"),
    )
    with (
        patch.object(retraining, "feed", lambda: Mock(look=lambda: (status, None))),
        patch.object(retraining, "_threshold"),
    ):
        retraining.show()
    if st.button("Below"):
        st.success("Pressed.")


def test_a_rollout_that_ends_does_not_swallow_a_button_pressed_below_it(registry: Registry) -> None:
    page = AppTest.from_function(_learning_page, default_timeout=30)
    page.session_state["rollouts_ended"] = 1
    page.run()
    page.session_state["rollouts_ended"] = 2
    next(each for each in page.button if each.label == "Below").click().run()
    assert list(page.exception) == []
    assert [each.value for each in page.success] == ["Pressed."]


def _label_table(files: list[tuple[str, str]]) -> None:
    from types import SimpleNamespace

    from dashboard.views import learning

    given = [SimpleNamespace(name=name, file_id=file_id) for name, file_id in files]
    found = learning._each(given, 0)
    print("labels:", found)


def _editor(files: list[tuple[str, str]]) -> str:
    page = AppTest.from_function(_label_table, kwargs={"files": files}, default_timeout=30).run()
    assert list(page.exception) == []
    assert list(page.warning) == []
    (table,) = page.dataframe
    return str(table.proto.id)


def test_a_replaced_file_does_not_inherit_a_label() -> None:
    """Streamlit keeps what was edited by row, as long as the table's key is the same."""
    before = _editor([("a.jpg", "1"), ("b.jpg", "2")])
    assert _editor([("a.jpg", "1"), ("b.jpg", "2")]) == before
    assert _editor([("a.jpg", "1"), ("c.jpg", "3")]) != before
    assert _editor([("a.jpg", "1"), ("b.jpg", "4")]) != before


def test_two_files_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    files = [("a.jpg", "1"), ("b.jpg", "2"), ("a.jpg", "3")]
    page = AppTest.from_function(_label_table, kwargs={"files": files}, default_timeout=30).run()
    assert [each.value for each in page.warning] == [
        r"More than one file is called a\.jpg\. Rename them\, or upload them one after the other\."
    ]
    assert len(page.dataframe) == 0
    assert "labels: None" in capsys.readouterr().out
