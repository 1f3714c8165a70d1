"""A machine that is cut off: a call to it ends in time to be sent to another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.environment import SEVERAL_MACHINES
from serve_app.settings import ServeSettings
from tests.cluster.hosts import Host, Network, why_not
from tests.conftest import PROJECT

PROGRAM = PROJECT / "tests" / "cluster" / "silent_call.py"


@pytest.fixture
def host() -> Iterator[Host]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    network = Network(hosts=1)
    try:
        yield network.hosts[0]
    finally:
        network.close()


def test_a_call_to_a_machine_that_is_silent_ends_before_its_deadline(
    host: Host, tmp_path: Path
) -> None:
    host.start(
        [sys.executable, str(PROGRAM), "serve", host.address], {**os.environ}, tmp_path / "s"
    )
    client = subprocess.Popen(
        [sys.executable, str(PROGRAM), "ask", host.address],
        # As Ray's processes have it when they start.
        env={**os.environ, **SEVERAL_MACHINES, "RAY_AUTH_MODE": "disabled"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        assert client.stdout.readline().startswith("OK"), "the server does not answer"
        with host.cut_off():
            client.stdin.write("again\n")
            client.stdin.flush()
            what, seconds = client.stdout.readline().split()
    finally:
        client.kill()
        client.communicate()
    assert what == "UNAVAILABLE"
    # Two tries and the answer itself have to fit; without the flag, it takes a quarter of an hour.
    assert 2 * float(seconds) < ServeSettings().deadline_s
