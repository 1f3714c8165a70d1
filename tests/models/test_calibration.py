"""Temperature scaling is softmax, sharper or softer, and always a distribution."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.calibration import temperature_scale
from models.errors import InvalidConfiguration

LOGITS = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(7)),
    elements=st.floats(-1e4, 1e4, width=32),
)
TEMPERATURES = st.floats(0.01, 100)


@given(LOGITS, TEMPERATURES)
def test_each_row_is_a_distribution(logits: npt.NDArray[np.float32], temperature: float) -> None:
    probabilities = temperature_scale(logits, temperature)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == logits.shape
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-6)


@given(LOGITS, TEMPERATURES)
def test_it_is_softmax_of_the_divided_logits(
    logits: npt.NDArray[np.float32], temperature: float
) -> None:
    expected = scipy.special.softmax(logits.astype(np.float64) / temperature, axis=1)
    assert temperature_scale(logits, temperature) == pytest.approx(expected, abs=2e-5)


@given(LOGITS, TEMPERATURES)
def test_the_order_of_the_classes_stays(
    logits: npt.NDArray[np.float32], temperature: float
) -> None:
    probabilities = temperature_scale(logits, temperature)
    likeliest = probabilities[np.arange(len(logits)), logits.argmax(axis=1)]
    assert np.array_equal(likeliest, probabilities.max(axis=1))


def test_heat_makes_it_less_sure() -> None:
    logits = np.array([[2, 1, 0, 0, 0, 0, -1]], np.float32)
    surest = [temperature_scale(logits, t).max() for t in (0.25, 0.5, 1, 2, 4, 1000)]
    assert surest == sorted(surest, reverse=True)
    assert surest[0] > 0.98
    assert surest[-1] == pytest.approx(1 / 7, abs=1e-3)


def test_a_row_is_scaled_by_itself() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    together = temperature_scale(rows, 1.3)
    assert all(
        np.array_equal(temperature_scale(rows[i : i + 1], 1.3)[0], together[i]) for i in range(6)
    )


def test_the_logits_stay_as_they_are() -> None:
    logits = np.ones((2, 7), np.float32)
    temperature_scale(logits, 0.5)
    assert (logits == 1).all()


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf, -math.inf])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(InvalidConfiguration, match=f"above 0, not {temperature}"):
        temperature_scale(np.zeros((1, 7), np.float32), temperature)
