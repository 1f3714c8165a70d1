"""The CUDA engine on emulated streams and graphs: lanes, threads and engines beside each other.

The network is one whose rows tell their images, so that a row in the wrong place is found exactly.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.errors import InvalidConfiguration, InvalidPackage
from models.package import CARD_FILE, WEIGHTS_FILE, ModelPackage
from serve_app.engines import torch_cuda
from serve_app.engines.base import warm_up
from serve_app.engines.torch_cuda import LANES, Launch, TorchCudaEngine
from tests.serve_app.engines.coded import CodedNetwork, coded_image, coded_rows, same
from tests.serve_app.engines.cuda_engines import exact_outputs, lanes_of
from tests.serve_app.engines.emulated_cuda import emulate_cuda

Pixels = npt.NDArray[np.uint8]
Make = Callable[..., TorchCudaEngine]


@pytest.fixture
def make(champion: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes an engine of a coded network."""
    emulate_cuda(monkeypatch)

    def make(max_batch: int = 4, launch: Launch = "graphs", offset: float = 0.0) -> TorchCudaEngine:
        network = CodedNetwork(offset)
        monkeypatch.setattr(torch_cuda, "load_network", lambda *arguments: network)
        return TorchCudaEngine(champion, max_batch, launch)

    return make


@pytest.mark.parametrize("launch", ["graphs", "eager"])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_any_number_of_images(make: Make, launch: Launch, count: int) -> None:
    numbers = [70_001 * step for step in range(count)]
    answers = make(launch=launch).forward([coded_image(number) for number in numbers])
    if not count:
        assert [part.shape for part in answers] == [(0, 7), (0, 192)]
        return
    assert same(answers, coded_rows(numbers))


def test_it_passes_its_self_test(make: Make) -> None:
    warm_up(make(max_batch=6))


def test_it_says_what_it_is(make: Make) -> None:
    info = make().info
    assert (info.name, info.precision, info.lanes) == ("torch-cuda", "f32", LANES)


def test_threads_get_their_own_rows(make: Make) -> None:
    engine = make()
    assert _crossed(engine, 0.0, threads=5, calls=40) == []


def test_as_many_threads_as_lanes_are_inside_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    inside = threading.Barrier(LANES, timeout=30)
    put = torch_cuda.Lane.forward

    def meet(*arguments: object) -> None:
        inside.wait()  # breaks if they come one after the other
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(torch_cuda.Lane, "forward", meet)
    with ThreadPoolExecutor(LANES) as threads:
        answers = list(threads.map(lambda n: engine.forward([coded_image(n)]), range(LANES)))
    assert all(same(answer, coded_rows([n])) for n, answer in enumerate(answers))


def test_a_lane_that_failed_comes_back(make: Make) -> None:
    engine = make()
    for _ in range(2 * LANES):
        with pytest.raises((ValueError, TypeError)):
            engine.forward([np.zeros((2, 2, 3), np.uint8)])
    assert same(engine.forward([coded_image(8)]), coded_rows([8]))


def test_engines_beside_each_other_do_not_meet(make: Make) -> None:
    first, second = make(offset=0.0), make(offset=1000.0)
    with ThreadPoolExecutor(2) as pairs:
        wrong = pairs.map(
            lambda pair: _crossed(*pair, threads=2, calls=30), [(first, 0.0), (second, 1000.0)]
        )
        assert list(wrong) == [[], []]


def test_an_engine_is_made_while_another_serves(make: Make) -> None:
    serving = make()
    stop = threading.Event()

    def serve() -> list[list[int]]:
        wrong = []
        while not stop.is_set():
            wrong += _crossed(serving, 0.0, threads=1, calls=1)
        return wrong

    with ThreadPoolExecutor(1) as thread:
        answers = thread.submit(serve)
        try:
            for _ in range(5):
                successor = make(offset=7.0)
        finally:
            stop.set()
        assert answers.result() == []
    assert _crossed(successor, 7.0, threads=2, calls=4) == []


def test_two_engines_may_be_asked_for_at_once(make: Make) -> None:
    # The emulation refuses two captures at once, as the driver does.
    with ThreadPoolExecutor(4) as threads:
        engines = list(threads.map(lambda _: make(), range(4)))
    assert all(_crossed(engine, 0.0, threads=1, calls=2) == [] for engine in engines)


def test_lanes_of_living_engines_never_share_a_stream(make: Make) -> None:
    alive = [make() for _ in range(3)]
    for _ in range(20):  # versions that come and go
        make()
    alive.append(make())
    streams = [id(lane._stream) for engine in alive for lane in lanes_of(engine)]
    assert len(set(streams)) == 4 * LANES


def test_it_is_freed_at_once(make: Make) -> None:
    engine = make()
    engine.forward([coded_image(1)])
    gone = weakref.ref(engine)
    lanes = [weakref.ref(lane) for lane in lanes_of(engine)]
    gc.disable()  # else a cycle would be found sooner or later
    try:
        del engine
        assert gone() is None
        assert [lane() for lane in lanes] == [None] * LANES
    finally:
        gc.enable()


@pytest.mark.parametrize("launch", ["graphs", "eager"])
def test_it_keeps_the_network_that_its_launches_read(
    champion: ModelPackage, monkeypatch: pytest.MonkeyPatch, launch: Launch
) -> None:
    emulate_cuda(monkeypatch)
    networks: list[weakref.ref[CodedNetwork]] = []

    def load(*arguments: object) -> CodedNetwork:
        network = CodedNetwork(0.0)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(torch_cuda, "load_network", load)
    engine = TorchCudaEngine(champion, 4, launch)
    gc.collect()
    assert [network() is None for network in networks] == [False]
    del engine
    assert [network() is None for network in networks] == [True]


def test_too_little_memory_is_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def lane(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    monkeypatch.setattr(torch_cuda, "Lane", lane)
    with pytest.raises(InvalidConfiguration, match=r"batches of 256.*max_batch_size.*2 GiB"):
        make(max_batch=256)
    monkeypatch.undo()


def test_the_real_network_says_the_same(
    champion: ModelPackage, lesions: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_cuda(monkeypatch)
    engine = TorchCudaEngine(champion, max_batch=2)
    exact = exact_outputs(champion, lesions[:3])
    for ours, theirs in zip(engine.forward(list(lesions[:3])), exact, strict=True):
        assert np.allclose(ours, theirs, atol=1e-3)


def test_a_package_without_weights_is_refused(
    champion: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_cuda(monkeypatch)
    others = {CARD_FILE: champion.manifest.files[CARD_FILE]}
    bare = ModelPackage(champion.folder, champion.manifest.model_copy(update={"files": others}))
    with pytest.raises(InvalidPackage, match=f"has no {WEIGHTS_FILE}"):
        TorchCudaEngine(bare)
    TorchCudaEngine(champion, max_batch=1)  # and the lock is free again


def _crossed(
    engine: TorchCudaEngine, offset: float, *, threads: int, calls: int
) -> list[list[int]]:
    """The batches of a coded network, asked for by several threads, that got other rows."""

    def ask(call: int) -> list[int] | None:
        random = np.random.default_rng(call)
        numbers = random.integers(0, 2**24, random.integers(1, 7)).tolist()
        answers = engine.forward([coded_image(number) for number in numbers])
        return None if same(answers, coded_rows(numbers, offset)) else numbers

    with ThreadPoolExecutor(threads) as pool:
        return [numbers for numbers in pool.map(ask, range(calls)) if numbers is not None]
