"""Leaving: which replicas a node still has, and what happens where the head says nothing.

`test_hosts.py` has a real host leave under load.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from cluster.leaving import announce, replicas_below, wait_for_replicas
from tests.waiting import wait_until


@pytest.fixture
def node() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a replica two steps below it, and something else."""
    script = (
        "bash -c 'exec -a ray::ServeReplica:dermserve:ingress sleep 60 & "
        "exec -a ray::Other sleep 60 & wait' & wait"
    )
    process = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    yield process
    os.killpg(process.pid, 9)
    process.wait()


def test_the_replicas_below_a_process(node: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: replicas_below(node.pid) or node.poll() is not None, "no replica")
    (replica,) = replicas_below(node.pid)
    assert replica in replicas_below(os.getpid())  # beside those of a server of other tests
    assert replicas_below(replica) == []
    assert not wait_for_replicas(node.pid, 0, lambda: False)
    assert wait_for_replicas(node.pid, 60, lambda: True)
    os.kill(replica, 9)
    assert wait_for_replicas(node.pid, 60, lambda: False)


def test_a_head_that_is_away_hears_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert announce("not an address", "label") is False
    assert "cannot be told" in caplog.text
