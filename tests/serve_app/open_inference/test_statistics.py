"""Statistics: images, requests and forward passes are counted once each."""

from __future__ import annotations

from typing import Any

from models.decision import Decision
from models.errors import TruncatedImage
from models.package import ModelPackage
from serve_app.classification import Classification, ServedModel
from serve_app.open_inference.statistics import Statistics

DECISION: Any = Decision  # statistics do not look at it


def _answer(package: ModelPackage, version: str, batch: int = 1) -> Classification:
    rules = package.manifest.decision
    return Classification(DECISION, ServedModel(version, "data", rules), 0.5, 0.25, batch)


def _of(statistics: Statistics, version: str) -> dict[str, Any]:
    (found,) = statistics.report("1", version)["model_stats"]
    assert found["version"] == version
    return dict(found)


def test_images_of_one_pass_count_as_one_execution(champion: ModelPackage) -> None:
    statistics = Statistics()
    statistics.observe([_answer(champion, "1", 3)] * 2, 1.0)
    statistics.observe([_answer(champion, "1", 3)], 2.0)  # shared the pass with those two
    statistics.observe([_answer(champion, "1")], 1.0)
    found = _of(statistics, "1")
    assert (found["inference_count"], found["execution_count"]) == (4, 2)
    assert found["inference_stats"]["success"] == {"count": 3, "ns": 4_000_000_000}
    assert found["inference_stats"]["compute_input"] == {"count": 4, "ns": 1_000_000_000}
    assert found["inference_stats"]["compute_infer"] == {"count": 4, "ns": 2_000_000_000}
    assert found["inference_stats"]["queue"] == {"count": 4, "ns": 2_000_000_000}
    batches = {each["batch_size"]: each["compute_infer"] for each in found["batch_stats"]}
    assert batches == {
        1: {"count": 1, "ns": 500_000_000},
        3: {"count": 1, "ns": 500_000_000},
    }
    assert found["last_inference"] > 0


def test_versions_are_apart_and_failures_stand_with_the_one_that_serves(
    champion: ModelPackage,
) -> None:
    statistics = Statistics()
    statistics.observe([_answer(champion, "0")], 1.0)
    statistics.observe([_answer(champion, "1"), TruncatedImage("Cut.")], 3.0)
    assert _of(statistics, "0")["inference_stats"]["fail"] == {"count": 0, "ns": 0}
    served = _of(statistics, "1")
    assert served["inference_stats"]["fail"] == {"count": 1, "ns": 3_000_000_000}
    assert (served["inference_count"], served["inference_stats"]["success"]["count"]) == (1, 0)
    both = statistics.report("1")["model_stats"]
    assert [each["version"] for each in both] == ["0", "1"]


def test_a_version_that_has_answered_nothing_is_there() -> None:
    found = _of(Statistics(), "1")
    assert (found["inference_count"], found["execution_count"], found["batch_stats"]) == (0, 0, [])
