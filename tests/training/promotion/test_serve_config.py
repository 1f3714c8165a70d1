"""The Serve configuration that a rollout writes: a few fields change, everything else stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT
from training.promotion.serve_config import (
    RunningConfig,
    ServeConfig,
    ServedModels,
    ServeUnreachable,
)


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    return loaded


def _deployment(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in document["applications"][0]["deployments"] if each["name"] == name
    )
    return found


def test_a_rollout_changes_only_what_replicas_hold(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    after = RunningConfig(document, frozenset()).serving(ServedModels(7, "3", 0.25), None)
    assert document == before
    assert _deployment(after, "classifier")["user_config"] == {
        "model": "champion",
        "standby": "3",
        "shadow_share": 0.25,
        "generation": 7,
    }
    assert _deployment(after, "explainer")["user_config"] == {"model": "champion", "generation": 7}
    for name in ("classifier", "explainer"):
        del _deployment(after, name)["user_config"]
        del _deployment(before, name)["user_config"]
    assert after == before


def test_the_pool_may_be_kept_from_shrinking_but_never_outgrows_its_bound(
    document: dict[str, Any],
) -> None:
    _deployment(document, "classifier")["autoscaling_config"] = {
        "min_replicas": 1,
        "max_replicas": 4,
    }
    running = RunningConfig(document, frozenset("abc"))
    assert running.min_replicas == 1
    for wished, written in ((3, 3), (9, 4)):
        after = running.serving(ServedModels(1), wished)
        block = _deployment(after, "classifier")["autoscaling_config"]
        assert block == {"min_replicas": written, "max_replicas": 4}
    assert running.serving(ServedModels(1), None)["applications"][0]["deployments"][2][
        "autoscaling_config"
    ] == {"min_replicas": 1, "max_replicas": 4}


def test_no_autoscaling_block_appears_where_there_was_none(document: dict[str, Any]) -> None:
    document["applications"][0]["deployments"] = [{"name": "ingress"}]
    running = RunningConfig(document, frozenset())
    assert running.min_replicas is None
    after = running.serving(ServedModels(2, "3"), 2)
    classifier = _deployment(after, "classifier")
    assert classifier.keys() == {"name", "user_config"}
    assert classifier["user_config"]["generation"] == 2


@pytest.mark.parametrize("pin", ["2", "./models/special"])
def test_a_version_in_the_file_is_a_pin(document: dict[str, Any], pin: str) -> None:
    assert RunningConfig(document, frozenset()).pinned is None
    _deployment(document, "classifier")["user_config"] = {"model": pin}
    assert RunningConfig(document, frozenset()).pinned == pin


def test_an_absent_dashboard_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServeConfig("http://127.0.0.1:9")
    with pytest.raises(ServeUnreachable, match="dashboard"):
        config.read()
    with pytest.raises(ServeUnreachable, match="dashboard"):
        config.write({"applications": []})
