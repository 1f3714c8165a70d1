"""The live sampler: its bound, that it is fair, and that nothing is lost or told twice."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.live_sample import LiveSample
from serve_app.engines.base import Outputs
from serve_app.live_sampler import CAPACITY, LiveSampler


def _outputs(start: int, images: int) -> Outputs:
    """Each row has the image's number in all places."""
    numbers = np.arange(start, start + images, dtype=np.float32)[:, None]
    return Outputs(np.repeat(numbers, 7, axis=1), np.repeat(numbers, 192, axis=1))


def _numbers(sample: LiveSample) -> list[int]:
    assert (sample.statistics == sample.logits[:, :1]).all()
    return [int(row[0]) for row in sample.logits]


def test_few_images_are_all_there_once() -> None:
    sampler = LiveSampler(seed=0)
    sampler.offer(_outputs(0, 4))
    sampler.offer(_outputs(4, 1))
    sample = sampler.drain("hash")
    assert (sample.package_hash, sample.images) == ("hash", 5)
    assert sorted(_numbers(sample)) == [0, 1, 2, 3, 4]
    again = sampler.drain("hash")
    assert (again.images, len(again), again.statistics.shape) == (0, 0, (0, 192))


@given(sizes=st.lists(st.integers(0, 40), max_size=20), capacity=st.integers(1, 30))
def test_it_keeps_the_lowest_priorities_of_all(sizes: list[int], capacity: int) -> None:
    sampler = LiveSampler(capacity, seed=3)
    total = 0
    for size in sizes:
        sampler.offer(_outputs(total, size))
        total += size
    sample = sampler.drain("hash")
    priorities = np.concatenate([np.zeros(0), *(_drawn for _drawn in _priorities(3, sizes))])
    order = np.argsort(priorities)[:capacity]
    assert sample.images == total
    assert _numbers(sample) == order.tolist()
    assert sample.priorities.tolist() == priorities[order].tolist()


def _priorities(seed: int, sizes: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.random(size) for size in sizes]


def test_every_image_has_the_same_chance() -> None:
    counts = np.zeros(50)
    sampler = LiveSampler(capacity=5, seed=1)
    for _ in range(2000):
        for start in range(0, 48, 4):
            sampler.offer(_outputs(start, 4))
        sampler.offer(_outputs(48, 2))
        counts[_numbers(sampler.drain("hash"))] += 1
    assert counts.sum() == 10_000
    assert chisquare(counts).pvalue > 0.01


def test_rows_that_stay_are_copies() -> None:
    sampler = LiveSampler(seed=0)
    outputs = _outputs(1, 1)
    sampler.offer(outputs)
    outputs.logits[:] = outputs.statistics[:] = 9
    assert _numbers(sampler.drain("hash")) == [1]


@pytest.mark.filterwarnings("error")
def test_what_half_precision_cannot_hold_is_infinite() -> None:
    sampler = LiveSampler(seed=0)
    sampler.offer(Outputs(np.zeros((1, 7), np.float32), np.full((1, 192), 1e6, np.float32)))
    assert np.isinf(sampler.drain("hash").statistics).all()


def test_threads_lose_nothing() -> None:
    sampler = LiveSampler()
    stop = threading.Event()
    seen = 0

    def offer() -> None:
        for start in range(500):
            sampler.offer(_outputs(start, 3))

    threads = [threading.Thread(target=offer) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not stop.is_set():
        if not any(thread.is_alive() for thread in threads):
            stop.set()
        sample = sampler.drain("hash")
        assert len(sample) <= min(CAPACITY, sample.images)
        seen += sample.images
    assert seen == 4 * 500 * 3
