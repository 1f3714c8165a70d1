"""A server's processes: why they cannot be seen is told as it is."""

from __future__ import annotations

import pytest

from benchmarks.process_tree import ProcessTree
from benchmarks.server_roots import ProcessesUnseen
from cluster.doctor.processes import find_processes
from cluster.doctor.unseen import Unseen
from tests.conftest import free_port


def test_nobody_listens() -> None:
    port = free_port()
    found = find_processes(f"http://127.0.0.1:{port}")
    assert isinstance(found, Unseen)
    assert f"listens on port {port}" in str(found)


def test_processes_that_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ProcessTree) -> None:
        raise ProcessesUnseen("Process 7 of the server may not be looked at.")

    monkeypatch.setattr("benchmarks.process_tree.server_roots", lambda url: [7])
    monkeypatch.setattr(ProcessTree, "snapshot", refuse)
    found = find_processes("http://127.0.0.1:8000")
    assert isinstance(found, Unseen)
    assert str(found) == "Process 7 of the server may not be looked at."
