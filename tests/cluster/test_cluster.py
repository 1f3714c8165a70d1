"""Three nodes of Ray on one machine: one application on all of them, training on two, one lost.

It starts a Ray of its own, so it has a process of pytest to itself; DERMSERVE_CLUSTER_TESTS=1 has
it run. `test_hosts.py` does the like with hosts that have their own addresses.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from cluster.server import LocalServer
from data.ham10000 import load_ham10000
from data.splits import split_by_lesion
from tests.cluster.load import load, report
from tests.conftest import PROJECT, free_port
from tests.waiting import wait_until
from training.progress import Progress, Step
from training.settings import Phase, TrainingSettings
from training.trainer import fit

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("DERMSERVE_CLUSTER_TESTS"), reason="DERMSERVE_CLUSTER_TESTS is not set"
    ),
    # Ray sets up its data library for each run, which warns of itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STAGES = ("ingress", "preprocessor", "classifier")
PATIENCE_S = 120.0


@dataclass
class Nodes:
    """A head, and two nodes that take a training worker each."""

    cluster: Any
    server: LocalServer
    others: list[Any]

    def replicas(self) -> dict[str, list[str]]:
        """Of each stage, the nodes of its running replicas."""
        details = self.server._client().get_serve_details()["applications"]["dermserve"]
        return {
            stage: [
                replica["node_id"]
                for replica in details["deployments"][stage]["replicas"]
                if replica["state"] == "RUNNING"
            ]
            for stage in STAGES
        }


@pytest.fixture(scope="module")
def nodes(
    serving_tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    assert not ray.is_initialized(), "give this file a process of pytest to itself"
    config = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    # Nodes of one machine have one address, on which HAProxy cannot listen twice.
    config["proxy_location"] = "HeadOnly"
    for deployment in config["applications"][0]["deployments"]:
        if deployment["name"] in STAGES:
            deployment["autoscaling_config"] = {
                **deployment["autoscaling_config"],
                "min_replicas": 2,
                "max_replicas": 2,
            }
            deployment["max_replicas_per_node"] = 1
    path = tmp_path_factory.mktemp("config") / "serve.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    server = LocalServer(
        path, port=free_port(), dashboard_port=free_port(), environment=serving_tiny
    )
    os.environ.update(server.environment)
    cluster = Cluster(
        initialize_head=True,
        connect=True,
        head_node_args={
            "num_cpus": 2,
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "dashboard_port": int(server.dashboard_url.rsplit(":", 1)[1]),
        },
    )
    try:
        others = [cluster.add_node(num_cpus=2, resources={"trains": 1}) for _ in range(2)]
        server.deploy()
        server.wait_until_ready(timeout_s=PATIENCE_S)
        yield Nodes(cluster, server, others)
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_the_chain_is_on_several_nodes(nodes: Nodes, jpeg: bytes) -> None:
    for stage, places in nodes.replicas().items():
        assert len(set(places)) == 2, stage
    with load([nodes.server.url], jpeg, {}, clients=4) as found:
        wait_until(lambda: found.sent() > 100, "no predictions", PATIENCE_S)
    assert found.failed() == {}


def test_training_has_a_worker_on_each_of_two_nodes(
    nodes: Nodes, synthetic_dataset: Path, untrained_features: Path, tmp_path: Path
) -> None:
    split = split_by_lesion(load_ham10000(synthetic_dataset).images, 7)
    places: set[str] = set()

    def on_step(step: Step) -> None:
        for group in placement_group_table().values():
            if group["state"] == "CREATED":
                places.update(group["bundles_to_node_id"].values())

    settings = TrainingSettings(
        batch_size=8,
        workers=2,
        nice=0,
        threads_per_worker=1,
        resources_per_worker={"CPU": 0.1, "trains": 1},
        start_timeout_s=300,
        phases=(Phase(epochs=1, image_size=32),),
    )
    weights, result = fit(
        split.train,
        split.validation,
        start=untrained_features,
        settings=settings,
        name="two-nodes",
        storage=tmp_path,
        progress=Progress(on_step=on_step),
    )
    assert weights.is_file()
    assert len(result.history) == 1
    trained = {node.node_id for node in nodes.others}
    assert places == trained


def test_a_node_that_is_lost_under_load(nodes: Nodes, jpeg: bytes) -> None:
    in_use = {place for places in nodes.replicas().values() for place in places}
    lost = next(node for node in nodes.others if node.node_id in in_use)
    had = {stage: places.count(lost.node_id) for stage, places in nodes.replicas().items()}
    with load([nodes.server.url], jpeg, {}) as found:
        wait_until(lambda: found.sent() > 100, "no predictions", PATIENCE_S)
        since = time.monotonic()
        nodes.cluster.remove_node(lost, allow_graceful=False)

        def replaced() -> bool:
            return all(
                len(places) == 2 and lost.node_id not in places
                for places in nodes.replicas().values()
            )

        wait_until(replaced, "its replicas were not replaced", PATIENCE_S, pause_s=0.2)
        took = time.monotonic() - since
        recovered = time.monotonic()
        wait_until(lambda: found.sent(recovered) > 100, "no predictions", PATIENCE_S)
    report(f"node of a Cluster lost with {had}", found, since, f"replicas replaced in {took:.1f} s")
    assert found.failed(recovered) == {}
    if not had["ingress"]:
        assert found.failed() == {}
