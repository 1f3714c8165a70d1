"""The CUDA engine on a GPU: graphs say what kernels say, whoever asks and whatever else runs."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.errors import InvalidConfiguration
from models.package import ModelPackage
from serve_app.engines import create_engine
from serve_app.engines.base import Outputs, warm_up
from serve_app.engines.ladder import rungs
from serve_app.engines.torch_cuda import LANES, Launch, TorchCudaEngine
from tests.serve_app.engines.coded import same
from tests.serve_app.engines.cuda_engines import exact_outputs, lanes_of

Pixels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

MAX_BATCH = 9
"""No power of two, so that the last rung is one of its own."""

TOLERANCE = 0.5
"""In logits, which differ by about 9 between images: bf16 against float32."""


@pytest.fixture(scope="module")
def pictures(lesions: Pixels) -> Pixels:
    """Eighteen images of two batches, all different."""
    shifted = [np.roll(lesions, 31 * step, axis=1) for step in range(3)]
    return np.ascontiguousarray(np.concatenate(shifted)[: 2 * MAX_BATCH])


@pytest.fixture(scope="module")
def exact(champion: ModelPackage, pictures: Pixels) -> Outputs:
    return exact_outputs(champion, pictures)


@pytest.fixture(scope="module")
def graphs(champion: ModelPackage) -> Iterator[TorchCudaEngine]:
    yield TorchCudaEngine(champion, MAX_BATCH)
    torch.cuda.empty_cache()


@pytest.fixture(scope="module")
def eager(champion: ModelPackage) -> TorchCudaEngine:
    return TorchCudaEngine(champion, MAX_BATCH, "eager")


def test_auto_makes_it_with_graphs(champion: ModelPackage) -> None:
    engine = create_engine(champion, "torch-cuda", max_batch=2)
    assert isinstance(engine, TorchCudaEngine)
    assert engine.info.lanes == LANES
    assert engine.max_piece == 2
    warm_up(engine)


@pytest.mark.parametrize("count", range(1, 2 * MAX_BATCH + 1))
def test_graphs_say_what_kernels_say(
    graphs: TorchCudaEngine,
    eager: TorchCudaEngine,
    pictures: Pixels,
    exact: Outputs,
    count: int,
) -> None:
    """Every rung and every size between them, in both lanes."""
    images = list(pictures[-count:])
    for _ in range(LANES):
        ours, theirs = graphs.forward(images), eager.forward(images)
        assert ours.logits.shape == (count, 7)
        assert np.abs(ours.logits - theirs.logits).max() < TOLERANCE / 5
        assert np.abs(ours.statistics - theirs.statistics).max() < TOLERANCE / 5
        assert np.abs(ours.logits - exact.logits[-count:]).max() < TOLERANCE


def test_a_replay_says_the_same_every_time(graphs: TorchCudaEngine, pictures: Pixels) -> None:
    first = graphs.forward(list(pictures[:5]))
    for _ in range(50):
        assert same(graphs.forward(list(pictures[:5])), first)


def test_nothing_of_a_larger_batch_gets_into_a_smaller(
    champion: ModelPackage, graphs: TorchCudaEngine, pictures: Pixels
) -> None:
    """What fills a batch up is whatever was there before; it must not be seen."""
    fresh = TorchCudaEngine(champion, MAX_BATCH)
    for count in (1, 3, 5, 7):
        images = list(pictures[:count])
        expected = fresh.forward(images)
        for filler in (np.zeros_like(pictures), np.full_like(pictures, 255), pictures[::-1]):
            for _ in range(LANES):
                graphs.forward(list(filler[:MAX_BATCH]))
            for _ in range(LANES):
                answers = graphs.forward(images)
                assert answers.logits.shape == (count, 7)
                assert np.allclose(answers.logits, expected.logits, atol=0.05)
                assert np.allclose(answers.statistics, expected.statistics, atol=0.05)


@pytest.mark.parametrize("threads", [LANES, 6])
def test_threads_get_their_own_rows(
    graphs: TorchCudaEngine, pictures: Pixels, exact: Outputs, threads: int
) -> None:
    """Buffers that are filled again too early, or read too early, would show here."""
    assert np.ptp(exact.logits, axis=0).max() > 10 * TOLERANCE

    def ask(seed: int) -> float:
        random = np.random.default_rng(seed)
        worst = 0.0
        for _ in range(60):
            order = random.integers(0, len(pictures), random.integers(1, MAX_BATCH + 1))
            answers = graphs.forward([pictures[index] for index in order])
            worst = max(worst, float(np.abs(answers.logits - exact.logits[order]).max()))
        return worst

    with ThreadPoolExecutor(threads) as pool:
        assert max(pool.map(ask, range(threads))) < TOLERANCE


def test_the_images_may_change_as_soon_as_the_answer_is_there(
    graphs: TorchCudaEngine, pictures: Pixels, exact: Outputs
) -> None:
    mine = pictures[:4].copy()
    answers = graphs.forward(list(mine))
    mine[:] = 0
    kept = answers.logits.copy()
    graphs.forward(list(mine))
    assert np.array_equal(answers.logits, kept)
    assert np.abs(kept - exact.logits[:4]).max() < TOLERANCE


@pytest.mark.parametrize("launch", ["graphs", "eager"])
def test_weights_stay_where_a_graph_looks_for_them(
    champion: ModelPackage, pictures: Pixels, exact: Outputs, launch: Launch
) -> None:
    """A graph knows addresses only: memory that was given back would be filled by others."""
    engine = TorchCudaEngine(champion, MAX_BATCH, launch)
    gc.collect()
    torch.cuda.empty_cache()
    sizes = [2**exponent for exponent in range(4, 22)]
    spoiled = [torch.full((size,), torch.nan, device="cuda") for size in sizes for _ in range(20)]
    for _ in range(LANES):
        answers = engine.forward(list(pictures))
        assert np.abs(answers.logits - exact.logits).max() < TOLERANCE
    assert all(bool(part.isnan().all()) for part in spoiled)  # nor did it write there


def test_staging_memory_is_pinned(graphs: TorchCudaEngine) -> None:
    for lane in lanes_of(graphs):
        assert lane._staging.images.is_pinned()
        assert lane._staging.rows.is_pinned()


def test_a_forward_allocates_nothing(graphs: TorchCudaEngine, pictures: Pixels) -> None:
    def allocated() -> int:
        return int(torch.cuda.memory_stats()["allocation.all.allocated"])

    graphs.forward(list(pictures))
    before = allocated()
    for count in range(1, len(pictures)):
        graphs.forward(list(pictures[:count]))
    assert allocated() == before


def test_an_engine_is_made_while_another_serves(
    champion: ModelPackage, graphs: TorchCudaEngine, pictures: Pixels, exact: Outputs
) -> None:
    """A swap of models: captures beside replays, then both answer, then one is gone."""
    stop = threading.Event()

    def serve(start: int) -> tuple[int, float]:
        calls, worst = 0, 0.0
        while not stop.is_set():
            order = np.arange(start, start + calls % MAX_BATCH + 1) % len(pictures)
            answers = graphs.forward([pictures[index] for index in order])
            worst = max(worst, float(np.abs(answers.logits - exact.logits[order]).max()))
            calls += 1
        return calls, worst

    with ThreadPoolExecutor(LANES) as pool:
        serving = [pool.submit(serve, start) for start in range(LANES)]
        try:
            for _ in range(3):
                successor = TorchCudaEngine(champion, MAX_BATCH)
                warm_up(successor)
                answers = successor.forward(list(pictures))
                assert np.abs(answers.logits - exact.logits).max() < TOLERANCE
                del successor
        finally:
            stop.set()
        for future in serving:
            calls, worst = future.result()
            assert calls > 0
            assert worst < TOLERANCE


def test_engines_are_made_at_once(champion: ModelPackage, pictures: Pixels, exact: Outputs) -> None:
    """As a standby and its shadow are, on two threads."""
    with ThreadPoolExecutor(3) as pool:
        engines = list(pool.map(lambda _: TorchCudaEngine(champion, 4), range(3)))
    for engine in engines:
        answers = engine.forward(list(pictures))
        assert np.abs(answers.logits - exact.logits).max() < TOLERANCE


def test_many_versions_come_and_go_beside_one_that_stays(
    champion: ModelPackage, graphs: TorchCudaEngine, pictures: Pixels, exact: Outputs
) -> None:
    """Torch hands out the same 32 streams in turn."""
    for _ in range(20):
        other = TorchCudaEngine(champion, 1)
        ours = {lane._stream.cuda_stream for lane in lanes_of(graphs)}
        theirs = {lane._stream.cuda_stream for lane in lanes_of(other)}
        assert len(ours | theirs) == 2 * LANES
    answers = graphs.forward(list(pictures))
    assert np.abs(answers.logits - exact.logits).max() < TOLERANCE


def test_memory_comes_back(champion: ModelPackage) -> None:
    def reserved() -> int:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return int(torch.cuda.memory_reserved())

    TorchCudaEngine(champion, MAX_BATCH)  # what libraries keep for good
    before = reserved()
    engine = TorchCudaEngine(champion, MAX_BATCH)
    during = reserved()
    del engine
    assert during > before
    assert reserved() <= before


def test_too_little_memory_is_said(champion: ModelPackage) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64 * 2**20) / total)
    try:
        with pytest.raises(InvalidConfiguration, match="max_batch_size"):
            TorchCudaEngine(champion, 256)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    warm_up(TorchCudaEngine(champion, 2))  # nothing is left half captured


def test_compiled_kernels_say_the_same(
    champion: ModelPackage, pictures: Pixels, exact: Outputs
) -> None:
    engine = TorchCudaEngine(champion, 4, "compile")
    for count in (1, 2, 3, 4, 6):
        answers = engine.forward(list(pictures[:count]))
        assert np.abs(answers.logits - exact.logits[:count]).max() < TOLERANCE


def test_every_size_has_a_graph(graphs: TorchCudaEngine) -> None:
    for lane in lanes_of(graphs):
        assert sorted(lane._launches) == list(rungs(MAX_BATCH))
        for launch in lane._launches.values():
            assert isinstance(launch, partial)
            assert isinstance(launch.args[0], torch.cuda.CUDAGraph)
