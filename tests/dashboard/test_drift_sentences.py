"""What the page says of drift: from the numbers, and only as much as they bear."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from dashboard.charts import share_bars
from dashboard.drift_sentences import drift_sentences
from dermserve_client import Drift
from models.classes import CLASSES
from tests.dashboard.answers import NOON

MIX = dict.fromkeys(CLASSES, 0.05) | {"nv": 0.7}


def _drift(p_value: float = 0.4, mix_p_value: float = 0.4, **changes: Any) -> Drift:
    expected = {"value": 0.761, "low": 0.74, "high": 0.78}
    answer: dict[str, Any] = {
        "status": "assessed",
        "reason": None,
        "version": "2",
        "samples": 512,
        "minimum": 200,
        "since": NOON,
        "assessed": NOON,
        "embedding": {"mmd": 0.0012, "p_value": p_value},
        "class_mix": {
            "distance": 0.21,
            "p_value": mix_p_value,
            "predicted": MIX | {"nv": 0.45, "mel": 0.25},
            "expected": MIX,
            "estimated": MIX | {"nv": 0.5, "mel": 0.25},
        },
        "out_of_distribution": 0.0,
        "performance": {
            "accuracy": expected,
            "balanced_accuracy": expected,
            "validation_accuracy": 0.755,
            "validation_balanced_accuracy": 0.785,
        },
    }
    return Drift.model_validate(answer | changes)


def test_without_an_answer_or_an_assessment() -> None:
    assert drift_sentences(None) == [
        "The server does not say at the moment how live images compare."
    ]
    waiting = _drift(embedding=None, class_mix=None, reason="3 images are not enough; 200 are.")
    assert drift_sentences(waiting) == ["3 images are not enough; 200 are."]


def test_images_like_the_validation_images() -> None:
    said = " ".join(drift_sentences(_drift()))
    assert said.startswith("The latest 512 classified images since 2026-11-01 12:00 UTC")
    assert "Nothing says that they look different" in said
    assert "by chance 40.0\u00a0% of the time" in said
    assert "mixed as on the validation images" in said
    assert "76.1\u00a0% of them (74.0\u00a0% to 78.0\u00a0%), after 75.5\u00a0%" in said
    assert said.endswith(
        "That holds as long as its confidence means what it did; labels would tell."
    )
    assert "abstains" not in said


def test_images_that_drift() -> None:
    said = " ".join(drift_sentences(_drift(0.001, 0.0001, out_of_distribution=0.125)))
    assert "They look different to the network (discrepancy 0.0012, by chance at most 0.1" in said
    assert "most of all Melanocytic nevus, 45.0\u00a0% instead of 70.0\u00a0%" in said
    assert "50.0\u00a0% of the images really are of that class" in said
    assert "On 12.5\u00a0% of them it abstains" in said
    assert said.endswith("its confidence says little: label some.")


def test_nothing_is_expected_where_nothing_shows_a_lesion() -> None:
    said = drift_sentences(_drift(0.001, out_of_distribution=1.0, performance=None))
    assert said[-1] == "Nothing can be expected of its answers to such images."


def test_a_chart_of_shares_has_all_numbers() -> None:
    mix = _drift().class_mix
    assert mix is not None
    chart = share_bars({"expected": mix.expected, "live": mix.predicted}).to_dict()
    (rows,) = chart["datasets"].values()
    assert len(rows) == 14
    assert {row["share"] for row in rows if row["class"] == "Melanocytic nevus"} == {0.7, 0.45}


def _section(drift: dict[str, object] | None) -> None:
    from dashboard.views import data_and_model
    from dermserve_client import DataSummary

    answer = {"uploads": None, "model": None, "latency": None, "drift": drift}
    data_and_model._drift(DataSummary.model_validate(answer))


def _shown(drift: Drift | None) -> AppTest:
    answer = drift and drift.model_dump(mode="json")
    page = AppTest.from_function(_section, kwargs={"drift": answer}, default_timeout=30).run()
    assert list(page.exception) == []
    return page


def test_the_page_shows_the_sentences_and_their_chart() -> None:
    page = _shown(_drift(0.001))
    assert "look different to the network" in page.markdown[0].value
    assert len(page.get("vega_lite_chart")) == 1
    assert "no pixels" in page.caption[0].value


def test_the_page_says_why_there_is_nothing_to_show() -> None:
    waiting = _drift(embedding=None, class_mix=None, performance=None, reason="3 are not enough.")
    for drift, text in ((waiting, "3 are not enough"), (None, "does not say at the moment")):
        page = _shown(drift)
        assert text in page.markdown[0].value
        assert len(page.get("vega_lite_chart")) == 0
        assert len(page.caption) == 0
