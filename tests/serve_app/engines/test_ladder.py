"""The ladder holds every batch up to the largest, on a rung less than twice its size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.engines.ladder import rung_for, rungs


@pytest.mark.parametrize(
    ("max_batch", "ladder"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (3, (1, 2, 3)),
        (32, (1, 2, 4, 8, 16, 32)),
        (33, (1, 2, 4, 8, 16, 32, 33)),
        (48, (1, 2, 4, 8, 16, 32, 48)),
    ],
)
def test_it_doubles_up_to_the_largest_batch(max_batch: int, ladder: tuple[int, ...]) -> None:
    assert rungs(max_batch) == ladder


@given(st.integers(1, 300))
def test_it_rises_without_repeating_and_ends_at_the_largest_batch(max_batch: int) -> None:
    ladder = rungs(max_batch)
    assert ladder[0] == 1
    assert ladder[-1] == max_batch
    assert list(ladder) == sorted(set(ladder))


@given(st.integers(1, 300).flatmap(lambda most: st.tuples(st.integers(1, most), st.just(most))))
def test_a_batch_goes_to_the_smallest_rung_that_holds_it(case: tuple[int, int]) -> None:
    count, max_batch = case
    ladder = rungs(max_batch)
    rung = rung_for(count, ladder)
    assert count <= rung < 2 * count
    assert [size for size in ladder if count <= size < rung] == []
