"""The footprint: configurations with a replica more, and a real replica that is added."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.footprint import (
    AddedReplica,
    Footprint,
    RunningServe,
    add_replica,
    memory_stages,
    replicas_table,
    with_one_more,
)
from benchmarks.process_tree import ProcessTree, RoleMemory
from benchmarks.started_server import StartedServer
from benchmarks.wrk import LoadFailed, LoadResult
from cluster.server import LocalServer
from tests.conftest import PROJECT


def document(**deployment: Any) -> dict[str, Any]:
    return {
        "applications": [
            {"name": "trainer", "deployments": [{"name": "stage"}]},
            {"name": "dermserve", "deployments": [{"name": "other"}, deployment]},
        ]
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"num_replicas": 2}),
        ({"num_replicas": 3}, {"num_replicas": 4}),
        (
            {"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}},
            {"autoscaling_config": {"min_replicas": 2, "max_replicas": 2}},
        ),
        (
            {
                "autoscaling_config": {
                    "max_replicas": 8,
                    "initial_replicas": 1,
                    "upscale_delay_s": 3,
                }
            },
            {"autoscaling_config": {"min_replicas": 2, "max_replicas": 8, "upscale_delay_s": 3}},
        ),
    ],
)
def test_one_replica_more(before: dict[str, Any], after: dict[str, Any]) -> None:
    given = document(name="stage", **before)
    untouched = copy.deepcopy(given)
    assert with_one_more(given, "stage") == document(name="stage", **after)
    assert given == untouched


def test_stages_of_the_shipped_configuration() -> None:
    shipped = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    for stage in ("ingress", "preprocessor", "classifier"):
        assert with_one_more(shipped, stage) != shipped


@pytest.mark.parametrize(
    ("stage", "deployment"),
    [("nowhere", {"name": "stage"}), ("stage", {"name": "stage", "num_replicas": "auto"})],
)
def test_a_number_that_nobody_says(stage: str, deployment: dict[str, Any]) -> None:
    with pytest.raises(LoadFailed, match=f"no number of replicas for {stage}.*it has other, stage"):
        with_one_more(document(**deployment), stage)


def test_tables() -> None:
    small, large = (
        RoleMemory(processes=1, uss_bytes=size, pss_bytes=size) for size in (2**20, 2**21)
    )
    load = LoadResult(
        concurrency=1, requests=1, seconds=1, p50_s=1, p90_s=1, p99_s=1, max_s=1, failed=0
    )
    footprint = Footprint(
        config="",
        ready_s=(1.0,),
        started={"ingress": small},
        load=load,
        peak={"ingress": large, "workers": small},
        loaded={"ingress": large},
        replicas=(
            AddedReplica(stage="ingress", running_s=2, own_bytes=2**20, tree_bytes=-(2**20)),
        ),
    )
    assert Footprint.model_validate_json(footprint.model_dump_json()) == footprint
    cells = [list(column.cells) for column in memory_stages(footprint).columns]
    assert cells == [
        ["ingress", "workers", "all"],
        ["1", "1", "2"],
        ["1", "0", "1"],
        ["2", "1", "3"],
        ["2", "0", "2"],
    ]
    assert [list(column.cells) for column in replicas_table(footprint.replicas).columns] == [
        ["ingress"],
        ["2.0"],
        ["1"],
        ["-1"],
    ]


def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    with (
        pytest.raises(LoadFailed, match=r"dermserve up has ended: .*nowhere.yaml cannot be read"),
        StartedServer(tmp_path / "nowhere.yaml", tmp_path),
    ):
        pass


def test_a_replica_is_added(server: LocalServer) -> None:
    serve = RunningServe(server.dashboard_url)
    (first,) = serve.replicas("explainer")
    try:
        added = add_replica(serve, ProcessTree.of_url(server.url), "explainer", settle_s=0)
        assert first in serve.replicas("explainer")
        assert len(serve.replicas("explainer")) == 2
        assert added.running_s > 0
        assert added.own_bytes > 10 * 2**20  # a Python process with Ray
    finally:
        server.deploy()
        server.wait_until_ready(timeout_s=60)
    assert httpx.get(f"{server.url}/health/ready").status_code == 200
