"""The engine and its precision."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from cluster.doctor.engine import EngineFacts, check, gather
from cluster.doctor.unseen import Unseen
from tests.cluster.doctor.conftest import Place
from tests.cluster.doctor.found import one, verdicts

INFO: dict[str, Any] = {"name": "openvino", "device": "a CPU", "precision": "bf16", "lanes": 2}
GOOD = EngineFacts(
    configured="auto",
    info=INFO,
    gpus=0,
    capabilities=("FP32", "BF16", "INT8"),
    int8=False,
    kernels={"bf16": 53},
)


def test_a_good_one() -> None:
    assert verdicts(check(GOOD)) == ["ok", "ok"]
    assert "bf16, 2 lanes" in check(GOOD)[0].message


def test_int8() -> None:
    facts = replace(
        GOOD,
        int8=True,
        info={**INFO, "precision": "int8 and f32"},
        kernels={"i8": 40, "u8": 12, "f32": 1},
    )
    assert verdicts(check(facts)) == ["ok", "ok"]
    assert "52 in int8, 1 in f32" in check(facts)[1].message
    slow = replace(facts, info={**INFO, "precision": "f32"}, capabilities=("FP32",), kernels={})
    assert "INT8 graph" in one(check(slow), "warning").message


def test_another_than_configured() -> None:
    assert "torch-cpu" in one(check(replace(GOOD, configured="torch-cpu")), "wrong").message


def test_a_gpu_that_nobody_uses() -> None:
    assert "classifier_gpus: 1" in str(one(check(replace(GOOD, gpus=1)), "warning").mend)


def test_floats_where_bf16_would_do() -> None:
    facts = replace(GOOD, info={**INFO, "precision": "f32"}, kernels={"f32": 53})
    assert "bf16" in one(check(facts), "warning").message
    assert verdicts(check(replace(facts, capabilities=("FP32",)))) == ["ok", "ok"]


def test_kernels_that_contradict_the_server() -> None:
    found = one(check(replace(GOOD, kernels={"bf16": 3, "f32": 50})), "warning")
    assert "50 in f32" in found.message


@pytest.mark.parametrize("info", [None, Unseen("No server answers.")])
def test_nobody_says(info: Unseen | None) -> None:
    assert verdicts(check(replace(GOOD, info=info))) == ["not checked", "ok"]


def test_cuda() -> None:
    facts = EngineFacts(
        "torch-cuda",
        {"name": "torch-cuda", "device": "a GPU", "precision": "bf16", "lanes": 2},
        1,
        Unseen("OpenVINO is not the engine."),
        False,
        Unseen("OpenVINO is not the engine."),
    )
    assert verdicts(check(facts)) == ["ok", "not checked"]


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is absent")
def test_what_openvino_does_here(place: Place) -> None:
    facts = gather(place())
    assert not isinstance(facts.kernels, Unseen)
    assert not isinstance(facts.capabilities, Unseen)
    expected = "bf16" if "BF16" in facts.capabilities else "f32"
    assert max(facts.kernels, key=lambda name: facts.kernels[name]) == expected  # type: ignore[index]
