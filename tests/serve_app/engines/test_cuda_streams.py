"""A stream has one owner, and the next one only when that is gone."""

from __future__ import annotations

import gc

import pytest
import torch

from serve_app.engines import cuda_streams
from serve_app.engines.cuda_streams import lease_stream
from tests.serve_app.engines.emulated_cuda import CPU, EmulatedStream, emulate_cuda

HERE = torch.device("cpu", 0)


class Owner:
    pass


@pytest.fixture(autouse=True)
def nothing_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate_cuda(monkeypatch)
    monkeypatch.setattr(cuda_streams, "_idle", {})


def test_owners_at_the_same_time_have_streams_of_their_own() -> None:
    owners = [Owner() for _ in range(5)]
    streams = [lease_stream(owner, CPU) for owner in owners]
    assert len(set(map(id, streams))) == 5


def test_a_stream_goes_on_to_the_next_owner() -> None:
    gc.disable()  # a stream has to come back without it
    try:
        kept = Owner()
        first = lease_stream(kept, CPU)
        seen = set()
        for _ in range(100):
            owner = Owner()
            seen.add(id(lease_stream(owner, CPU)))
            del owner
    finally:
        gc.enable()
    assert len(seen) == 1
    assert id(first) not in seen


def test_devices_do_not_share_streams() -> None:
    owner = Owner()
    stream = lease_stream(owner, CPU)
    del owner
    other = Owner()
    assert lease_stream(other, HERE) is not stream


def test_they_are_of_the_pool_that_libraries_do_not_use() -> None:
    owner = Owner()
    stream = lease_stream(owner, CPU)
    assert isinstance(stream, EmulatedStream)
    assert stream.priority == -1
