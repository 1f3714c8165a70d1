"""Sentences of interpretation follow from the numbers that they stand beside."""

from __future__ import annotations

import json
from typing import Any

from dashboard import findings
from models.classes import CLASSES
from models.package import BUNDLED_CHAMPION

REPORT: dict[str, Any] = json.loads((BUNDLED_CHAMPION / "report.json").read_text("utf-8"))
EVALUATION = REPORT["evaluation"]
MANIFEST: dict[str, Any] = json.loads((BUNDLED_CHAMPION / "model.json").read_text("utf-8"))
EMPTY = dict.fromkeys(CLASSES, 0)


def test_classes() -> None:
    said = findings.class_finding(EMPTY | {"nv": 90, "df": 10}, "images")
    assert said.startswith("100 images: 90.0\u00a0% show Melanocytic nevus, 9 times as many as ")
    assert "Dermatofibroma (10)" in said
    assert "None show Actinic keratosis" in said
    turned = findings.class_finding(EMPTY | {"nv": 10, "df": 90}, "images")
    assert "90.0\u00a0% show Dermatofibroma" in turned
    assert findings.class_finding(EMPTY, "uploads") == "There are no uploads yet."
    close = findings.class_finding(EMPTY | {"nv": 14, "df": 10}, "images")
    assert "1.4 times as many as Dermatofibroma" in close
    far = findings.class_finding(EMPTY | {"nv": 1234, "df": 1}, "images")
    assert "1,234 times as many" in far
    even = findings.class_finding(EMPTY | {"nv": 5, "df": 5}, "images")
    assert "times as many" not in even
    alone = findings.class_finding(EMPTY | {"mel": 3}, "images")
    assert "times as many" not in alone


def test_sizes() -> None:
    said = findings.size_finding([(600, 450, 8), (200, 150, 2)], 10)
    assert "10 stored images in 2 sizes; the most frequent is 600 x 450 pixels (80.0" in said
    assert "2 images are smaller than the 224 pixels" in said
    assert "None of these is smaller" in findings.size_finding([(600, 450, 1)], 1)
    assert findings.size_finding([], 0).startswith("Nothing has been uploaded")


def test_sizes_of_which_the_server_lists_only_the_most_frequent() -> None:
    said = findings.size_finding([(600, 450, 8), (200, 150, 2)], 1016)
    assert said.startswith("10 stored images of 1,016 in 2 sizes; ")
    assert "600 x 450 pixels (0.8\u00a0%)" in said
    assert "At least 2 images are smaller than the 224 pixels" in said


def test_performance_of_the_bundled_model() -> None:
    by_class = MANIFEST["metrics"]["test"]["by_class"]
    said = findings.performance_finding(by_class)
    best = max(by_class, key=lambda code: by_class[code]["recall"])
    assert best == "vasc"
    assert said.startswith("It finds Vascular lesion best (89.7")
    assert "Dermatofibroma worst (63.0\u00a0% of 27 images)" in said
    assert "Dermatofibroma is right least often" in said
    assert findings.performance_finding({}) == "The model came without results by class."


def test_reliability() -> None:
    said = findings.reliability_finding(
        EVALUATION["reliability"], EVALUATION["expected_calibration_error"]
    )
    assert said.startswith("Over 2,009 test images")
    assert "The expected calibration error is 0.040 (0.027 to 0.053)" in said
    sure = findings.reliability_finding([{"images": 10, "correct": 5, "confidence": 0.9}], None)
    assert sure.endswith("too sure of itself.")
    modest = findings.reliability_finding([{"images": 10, "correct": 9, "confidence": 0.5}], None)
    assert modest.endswith("too modest.")
    even = findings.reliability_finding([{"images": 10, "correct": 9, "confidence": 0.9}], None)
    assert "about as sure as it is right" in even
    assert "without a reliability" in findings.reliability_finding([], None)


def _group(name: str, value: float | None, low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    estimate = None if value is None else {"value": value, "low": low, "high": high}
    return {"kind": "age", "name": name, "images": 50, "balanced_accuracy": estimate}


def test_subgroups() -> None:
    groups = [_group("young", 0.4, 0.3, 0.5), _group("old", 0.8), _group("few", None)]
    said = findings.subgroup_finding(groups, 0.75)
    assert "does worst on age young: balanced accuracy 0.400 (0.300 to 0.500), 50 images" in said
    assert "outside that interval, so that it is hardly chance" in said
    assert said.endswith("1 group has too few images to tell.")
    assert "may be chance" in findings.subgroup_finding(groups, 0.45)
    assert findings.subgroup_finding([], None).startswith("No subgroup has enough")


def test_training() -> None:
    said = findings.history_finding(REPORT["history"])
    assert said.startswith(f"{len(REPORT['history'])} epochs; validation was best after epoch")
    rising = [{"epoch": n, "balanced_accuracy": n / 10} for n in (1, 2)]
    assert "longer training might still have helped" in findings.history_finding(rising)
    assert "0.100 lower at the end" in findings.history_finding(rising[::-1])
    assert findings.history_finding([]) == "This version came without training curves."


def test_versions() -> None:
    both = [("2", 0.75), ("3", 0.76)]
    assert findings.versions_finding(both, "3").endswith("is 3 (0.760), and it serves.")
    assert findings.versions_finding(both, "2").endswith("version 2 serves (0.750).")
    assert findings.versions_finding(both[:1], "3") == (
        "One version has a balanced accuracy on record: 2 (0.750)."
    )
    assert findings.versions_finding([], "2").startswith("No version has")
    assert findings.versions_finding(both, "1").endswith("3 (0.760).")
