"""Several hosts, each with its address, its HAProxy and its processes: joined, cut off, lost.

They share PostgreSQL, an MLflow server and an object store, as DERMSERVE_* names them, and take
some minutes; DERMSERVE_CLUSTER_TESTS=1 has them run.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from cluster.addresses import HEAD_PORT
from data.catalogue.api_key import Role
from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.catalogue.keys import Keys
from data.catalogue.uploads import Uploads
from data.image_store import IMAGES_VARIABLE, ImageStore
from data.synthetic import synthetic_jpeg
from models.tracking_uri import REGISTRY_VARIABLE
from tests.cluster.hosts import Host, Network, why_not
from tests.cluster.load import Load, load, report
from tests.conftest import PROJECT
from tests.data.catalogue.postgresql import PostgresServer, binaries, new_schema
from tests.mlflow_server import mlflow_server
from tests.object_store import BUCKET, ObjectStore
from tests.waiting import wait_until
from training.storage import RUNS_VARIABLE

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("DERMSERVE_CLUSTER_TESTS"), reason="DERMSERVE_CLUSTER_TESTS is not set"
    ),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
]

PORT = 8000
START_S = 240.0
RECOVERY_S = 150.0
CALM_S = 20.0
STAGES = ("ingress", "preprocessor", "classifier")


@dataclass
class Cluster:
    """A head and two machines that have joined it."""

    head: Host
    others: list[Host]
    environment: dict[str, str]
    folder: Path
    store: ObjectStore
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.key}

    def start_head(self) -> None:
        """The head keeps its tables, so that it finds its cluster again."""
        self.head.start(
            [
                *(sys.executable, "-m", "cluster", "up", "--node-ip", self.head.address),
                *("--config", str(self.folder / "cluster.yaml")),
            ],
            {
                **self.environment,
                "RAY_gcs_storage": "rocksdb",
                "RAY_gcs_storage_path": str(self.folder / "gcs"),
            },
            self.folder / "head.log",
        )

    def join(self, host: Host) -> None:
        host.start(
            [
                *(sys.executable, "-m", "cluster", "node", "--num-cpus", "2"),
                *("--address", f"{self.head.address}:{HEAD_PORT}", "--node-ip", host.address),
            ],
            self.environment,
            self.folder / f"{host.name}.log",
        )

    def get(self, host: Host, path: str) -> httpx.Response:
        url = f"http://{host.address}:{PORT}{path}"
        return httpx.get(url, headers=self.headers, timeout=30, trust_env=False)

    def post(self, host: Host, path: str, **body: Any) -> httpx.Response:
        url = f"http://{host.address}:{PORT}{path}"
        return httpx.post(url, headers=self.headers, timeout=60, trust_env=False, **body)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log")
        )


def _answers(cluster: Cluster, host: Host) -> bool:
    try:
        return cluster.get(host, "/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _wait(condition: Callable[[], bool], seconds: float, cluster: Cluster, what: str) -> float:
    return wait_until(condition, lambda: f"{cluster.logs()}\n{what}", seconds, pause_s=0.2)


def _calm(found: Load, since: float) -> bool:
    """Whether nothing has failed for so long, from a moment on, that Ray knows what is lost."""
    begin = time.monotonic() - CALM_S
    return begin >= since and not found.failed(begin)


def _config(folder: Path) -> None:
    """`configs/cluster.yaml` with a replica of each stage on every machine, however small."""
    config = yaml.safe_load((PROJECT / "configs" / "cluster.yaml").read_text())
    config["http_options"]["port"] = PORT
    application = config["applications"][0]
    application["args"] |= {"classifier_cpus": 0.5, "threads": 1}
    for deployment in application["deployments"]:
        if deployment["name"] in STAGES:
            deployment["autoscaling_config"] = {
                **deployment["autoscaling_config"],
                "min_replicas": 3,
                "max_replicas": 3,
            }
            deployment["max_replicas_per_node"] = 1
    (folder / "cluster.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    found_binaries = binaries()
    assert found_binaries is not None
    folder = tmp_path_factory.mktemp("hosts")
    (home := folder / "home").mkdir()
    (folder / "token").write_text("f" * 64)
    network = Network(hosts=3)
    postgres = PostgresServer(found_binaries)
    store = ObjectStore(network.address)
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            new_schema(postgres) as catalogue,
        ):
            for name, value in store.environment.items():
                patch.setenv(name, value)
            with mlflow_server(
                folder, host=network.address, artifacts=f"s3://{BUCKET}/mlflow"
            ) as registry:
                database = Database(catalogue)
                key = Keys(database).create("a test", list(Role), "test").text
                database.close()
                environment = {
                    **{n: v for n, v in os.environ.items() if not n.startswith("RAY_")},
                    **store.environment,
                    "PYTHONPATH": str(PROJECT),
                    "HOME": str(home),
                    "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
                    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
                    REGISTRY_VARIABLE: registry,
                    CATALOGUE_VARIABLE: catalogue,
                    IMAGES_VARIABLE: f"s3://{BUCKET}/images",
                    RUNS_VARIABLE: str(folder / "runs"),
                }
                head, *others = network.hosts
                cluster = Cluster(head, others, environment, folder, store, key)
                _config(folder)
                cluster.start_head()
                _wait(lambda: _listens(head), START_S, cluster, "no head")
                for host in others:
                    cluster.join(host)
                for host in network.hosts:
                    ready = _wait(
                        lambda host=host: _answers(cluster, host),  # type: ignore[misc]
                        START_S,
                        cluster,
                        f"{host.name} does not answer",
                    )
                    print(f"\n{host.address} answers after another {ready:.1f} s")
                yield cluster
    finally:
        network.close()
        store.close()
        postgres.remove()


def _listens(host: Host) -> bool:
    try:
        socket.create_connection((host.address, HEAD_PORT), 1).close()
    except OSError:
        return False
    return True


def test_every_host_answers_and_what_it_keeps_is_shared(cluster: Cluster, jpeg: bytes) -> None:
    image = synthetic_jpeg("mel", 5, width=120, height=90)
    sent = cluster.post(cluster.others[0], "/upload/bulk", files={"files": ("a.jpg", image)})
    assert sent.status_code == 200, sent.text
    (verdict,) = sent.json()["results"]
    for host in (cluster.head, *cluster.others):
        assert cluster.post(host, "/predict", content=jpeg).status_code == 200
        assert cluster.get(host, f"/uploads/{verdict['id']}").status_code == 200
    database = Database(cluster.environment[CATALOGUE_VARIABLE])
    upload = Uploads(database).get(verdict["id"])
    database.close()
    assert ImageStore(cluster.environment[IMAGES_VARIABLE]).get(upload.image_key)


def test_an_object_store_that_is_away(cluster: Cluster, jpeg: bytes) -> None:
    images = [synthetic_jpeg("bkl", seed, width=120, height=90) for seed in range(20, 24)]
    head = cluster.head
    with load([f"http://{head.address}:{PORT}"], jpeg, cluster.headers, clients=2) as found:
        since = time.monotonic()
        with cluster.store.away():
            for image in images:
                refused = cluster.post(head, "/upload/bulk", files={"files": ("a.jpg", image)})
                assert refused.status_code == 503, refused.text
                assert refused.headers["retry-after"] == "2"
            _wait(lambda: found.sent(since) > 100, 60, cluster, "no predictions")
        back = time.monotonic()
        for image in images:
            taken = cluster.post(head, "/upload/bulk", files={"files": ("a.jpg", image)})
            assert [each["verdict"] for each in taken.json()["results"]] == ["needs_label"]
        took = time.monotonic() - back
    assert found.failed() == {}
    report(
        "object store away",
        found,
        since,
        f"4 uploads refused with 503, all taken {took:.1f} s after its return; none lost",
    )


def test_a_host_is_cut_off_and_comes_back(cluster: Cluster, jpeg: bytes) -> None:
    away, stays = cluster.others
    urls = [f"http://{host.address}:{PORT}" for host in (cluster.head, stays)]
    with load(urls, jpeg, cluster.headers) as found:
        _wait(lambda: found.sent() > 100, 60, cluster, "no predictions")
        since = time.monotonic()
        with away.cut_off():
            time.sleep(40)  # how long it is away is what is tested
            recovered = time.monotonic()
            _wait(lambda: found.sent(recovered) > 100, 60, cluster, "no predictions")
        back = time.monotonic()
        log = cluster.folder / f"{away.name}.log"
        _wait(lambda: "Joining again" in log.read_text(), RECOVERY_S, cluster, "it did not notice")
        _wait(lambda: not _answers(cluster, away), RECOVERY_S, cluster, "it has not begun anew")
        _wait(lambda: _answers(cluster, away), RECOVERY_S, cluster, "it did not come back")
        rejoined = time.monotonic() - back
    report(
        "host cut off for 40 s",
        found,
        since,
        f"it serves again {rejoined:.1f} s after its cable is back",
    )
    assert found.failed(recovered) == {}
    assert cluster.post(away, "/predict", content=jpeg).status_code == 200


def test_a_host_that_loses_power(cluster: Cluster, jpeg: bytes) -> None:
    stays, lost = cluster.others
    urls = [f"http://{host.address}:{PORT}" for host in (cluster.head, stays)]
    with load(urls, jpeg, cluster.headers) as found:
        _wait(lambda: found.sent() > 100, 60, cluster, "no predictions")
        since = time.monotonic()
        lost.lose_power()
        _wait(lambda: _calm(found, since), RECOVERY_S, cluster, "Ray has not noticed")
        recovered = time.monotonic()
        _wait(lambda: found.sent(recovered) > 100, 60, cluster, "no predictions")
        cluster.join(lost)
        back = time.monotonic()
        _wait(lambda: _answers(cluster, lost), RECOVERY_S, cluster, "it did not come back")
        rejoined = time.monotonic() - back
    report("host loses power", found, since, f"it serves again {rejoined:.1f} s after it starts")
    assert found.failed(recovered) == {}


def test_the_head_loses_power_and_starts_again(cluster: Cluster, jpeg: bytes) -> None:
    """The others answer meanwhile, and the applications are there again without anybody's doing."""
    urls = [f"http://{host.address}:{PORT}" for host in cluster.others]
    replicas = [cluster.get(host, "/health").json()["uptime_s"] for host in cluster.others]
    with load(urls, jpeg, cluster.headers) as found:
        _wait(lambda: found.sent() > 100, 60, cluster, "no predictions")
        since = time.monotonic()
        cluster.head.lose_power()
        time.sleep(10)  # the time that a machine takes to start
        away = cluster.others[0]
        assert cluster.post(away, "/predict", content=jpeg).status_code == 200
        cluster.start_head()
        _wait(lambda: _answers(cluster, cluster.head), START_S, cluster, "no head")
        back = time.monotonic() - since
        recovered = time.monotonic()
        _wait(lambda: found.sent(recovered) > 100, 60, cluster, "no predictions")
    report("head loses power, is away for 10 s", found, since, f"it answers {back:.1f} s after")
    print(
        f"\nuptimes {replicas}, then ",
        [cluster.get(host, "/health").json()["uptime_s"] for host in cluster.others],
    )
    assert found.failed(recovered) == {}


def test_a_host_that_leaves(cluster: Cluster, jpeg: bytes) -> None:
    """Nothing is lost with a machine that is taken away in good order."""
    leaves, stays = cluster.others
    urls = [f"http://{host.address}:{PORT}" for host in (cluster.head, stays)]
    (node,) = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.cmdline()[1:4] == ["-m", "cluster", "node"]
        and leaves.address in process.cmdline()
    ]
    with load(urls, jpeg, cluster.headers) as found:
        _wait(lambda: found.sent() > 100, 60, cluster, "no predictions")
        since = time.monotonic()
        node.send_signal(signal.SIGTERM)
        _wait(lambda: not node.is_running(), RECOVERY_S, cluster, "it did not leave")
        left = time.monotonic() - since
        recovered = time.monotonic()
        _wait(lambda: found.sent(recovered) > 100, 60, cluster, "no predictions")
    report("host leaves (SIGTERM)", found, since, f"it has gone {left:.1f} s after")
    assert found.failed() == {}
    leaves.lose_power()
    cluster.join(leaves)
    _wait(lambda: _answers(cluster, leaves), RECOVERY_S, cluster, "it did not come back")
