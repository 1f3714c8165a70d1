"""Staging memory takes images and gives rows back, each in its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.preprocessing import IMAGE_SIZE
from serve_app.engines.base import Outputs
from serve_app.engines.cuda_staging import ROW, Staging
from tests.serve_app.engines.coded import coded_image

CAPACITY = 4
STAGING = Staging(CAPACITY, pinned=False)  # used again and again, as a lane uses it


@given(st.lists(st.integers(0, 999), min_size=1, max_size=CAPACITY))
@settings(max_examples=30)
def test_images_arrive_in_order_and_the_rest_stays(numbers: list[int]) -> None:
    STAGING.images.fill_(7)
    images = [coded_image(number) for number in numbers]
    STAGING.put(images)
    count = len(images)
    assert np.array_equal(STAGING.images[:count].numpy(), np.stack(images))
    assert (STAGING.images[count:] == 7).all()


@given(st.integers(1, CAPACITY), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_rows_are_taken_apart_and_copied(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(CAPACITY, ROW)).astype(np.float32)
    STAGING.rows.copy_(torch.from_numpy(values))
    outputs = Outputs.empty(count)
    STAGING.take(outputs)
    STAGING.rows.zero_()
    assert np.array_equal(np.concatenate(outputs, axis=1), values[:count])


def test_an_image_may_be_a_view_of_a_larger_array() -> None:
    whole = np.stack([coded_image(number) for number in range(3)])
    STAGING.put(list(whole[::2]))
    assert np.array_equal(STAGING.images[:2].numpy(), whole[::2])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8),
        np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32),
        np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.int8),
    ],
    ids=["one channel", "no channels", "one pixel", "floats", "signed"],
)
def test_nothing_is_stretched_or_converted(image: np.ndarray) -> None:
    with pytest.raises((ValueError, TypeError)):
        STAGING.put([image])


def test_more_than_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        STAGING.put([coded_image(1)] * (CAPACITY + 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_pages_are_pinned_where_that_is_asked_for() -> None:
    staging = Staging(CAPACITY, pinned=True)
    assert staging.images.is_pinned()
    assert staging.rows.is_pinned()
    staging.put([coded_image(5)])
    assert np.array_equal(staging.images[0].numpy(), coded_image(5))
