"""What Prometheus is told of the models in a replica."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.generation import Generation
from serve_app.model_metrics import ModelMetrics
from tests.serve_app.told import record_told, value_of


def _model(version: str) -> Any:
    return SimpleNamespace(served=SimpleNamespace(version=version))


def test_a_replica_tells_which_models_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    told = record_told(monkeypatch)
    generation = Generation()
    metrics = ModelMetrics(lambda: generation)
    metrics.tell()
    assert told == {("dermserve_model_load_failed", frozenset()): 0}
    generation = Generation(serving=_model("3"), standby=_model("2"))
    metrics.tell()
    assert value_of(told, "dermserve_model_held", version="3", role="serving") == 1
    assert value_of(told, "dermserve_model_held", version="2", role="standby") == 1
    told.clear()
    generation = replace(generation, standby=None, load_error="Version 4 is gone.")
    metrics.tell()
    # What it does not hold any more is not told of: Ray's agents forget it.
    assert value_of(told, "dermserve_model_held", version="2", role="standby") is None
    assert value_of(told, "dermserve_model_load_failed") == 1
