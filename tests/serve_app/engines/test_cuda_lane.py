"""A lane answers each batch with its own rows, however late the device does its work."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.preprocessing import IMAGE_SIZE
from serve_app.engines.base import Outputs
from serve_app.engines.cuda_lane import Lane, describe_into
from serve_app.engines.cuda_staging import ROW
from serve_app.engines.ladder import rungs
from tests.serve_app.engines.coded import CodedNetwork, coded_image, coded_rows, same
from tests.serve_app.engines.emulated_cuda import CPU, emulate_cuda

MAX_BATCH = 6

pytestmark = pytest.mark.usefixtures("emulated")


@pytest.fixture(scope="module")
def emulated() -> object:
    with pytest.MonkeyPatch.context() as monkeypatch:
        emulate_cuda(monkeypatch)
        yield


@pytest.fixture
def network() -> CodedNetwork:
    return CodedNetwork()


@pytest.fixture(params=["graphs", "eager"])
def lane(request: pytest.FixtureRequest, network: CodedNetwork) -> Lane:
    return Lane(network.describe, rungs(MAX_BATCH), CPU, graphs=request.param == "graphs")


def _ask(lane: Lane, numbers: list[int]) -> Outputs:
    outputs = Outputs.empty(len(numbers))
    lane.forward([coded_image(number) for number in numbers], outputs)
    return outputs


@pytest.mark.parametrize("count", range(1, MAX_BATCH + 1))
def test_every_size_gets_its_own_rows(lane: Lane, count: int) -> None:
    numbers = [1_000_003 * (step + 1) for step in range(count)]
    assert same(_ask(lane, numbers), coded_rows(numbers))


@settings(max_examples=20)
@given(
    batches=st.lists(
        st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=MAX_BATCH), min_size=1, max_size=8
    ),
    graphs=st.booleans(),
)
def test_nothing_of_earlier_batches_is_left(batches: list[list[int]], graphs: bool) -> None:
    lane = Lane(CodedNetwork().describe, rungs(MAX_BATCH), CPU, graphs=graphs)
    answers = [_ask(lane, numbers) for numbers in batches]
    assert all(map(same, answers, map(coded_rows, batches)))


def test_a_batch_runs_on_the_smallest_rung_that_holds_it(network: CodedNetwork) -> None:
    lane = Lane(network.describe, rungs(MAX_BATCH), CPU, graphs=False)
    network.sizes.clear()
    for count in range(1, MAX_BATCH + 1):
        _ask(lane, [0] * count)
    assert network.sizes == [1, 2, 4, 4, 6, 6]


def test_every_size_is_warmed_up_and_recorded_beforehand(network: CodedNetwork) -> None:
    lane = Lane(network.describe, rungs(MAX_BATCH), CPU, graphs=True)
    assert network.sizes == [6, 6, 6, 4, 4, 4, 2, 2, 2, 1, 1, 1]
    _ask(lane, [1, 2, 3])
    assert len(network.sizes) == 12  # a replay does not come by here


def test_an_error_leaves_the_lane_as_it_was(network: CodedNetwork) -> None:
    lane = Lane(network.describe, rungs(MAX_BATCH), CPU, graphs=False)
    network.error = RuntimeError("out of order")
    with pytest.raises(RuntimeError, match="out of order"):
        _ask(lane, [1, 2, 3])
    network.error = None
    assert same(_ask(lane, [4, 5]), coded_rows([4, 5]))


def test_a_wrong_image_does_not_reach_the_device(lane: Lane, network: CodedNetwork) -> None:
    runs = len(network.sizes)
    with pytest.raises((ValueError, TypeError)):
        lane.forward([np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8)], Outputs.empty(1))
    assert len(network.sizes) == runs
    assert same(_ask(lane, [9]), coded_rows([9]))


def test_it_is_freed_at_once(network: CodedNetwork) -> None:
    for graphs in (True, False):
        lane = Lane(network.describe, rungs(2), CPU, graphs=graphs)
        gone = weakref.ref(lane)
        gc.disable()  # else a cycle would be found sooner or later
        try:
            del lane
            assert gone() is None
        finally:
            gc.enable()


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_rows_are_written_where_they_belong(count: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 2**24, count).tolist()
    images = torch.from_numpy(np.stack([coded_image(number) for number in numbers]))
    rows = torch.full((count + 1, ROW), -1.0)
    describe_into(CodedNetwork().describe, images, rows[:count])
    assert np.array_equal(rows[:count].numpy(), np.concatenate(coded_rows(numbers), axis=1))
    assert (rows[count:] == -1).all()
