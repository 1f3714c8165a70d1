"""The benchmark of the drift watch, on a few synthetic images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift import SHIFTS, drift, inverted, noisy, tinted
from models.package import BUNDLED_CHAMPION


def test_it_tells_what_was_found_and_what_estimates_are_worth(
    synthetic_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drift(synthetic_dataset, windows=3, shifted=2, sizes=[6], images=14, package=BUNDLED_CHAMPION)
    said = capsys.readouterr().out
    assert "6 images a window, 3 or 2 windows" in said
    for name in ("test images", "sharp ones only", *SHIFTS, "synthetic lesions"):
        assert name in said
    found = next(line for line in said.splitlines() if "negatives" in line)
    assert "%" in found
    assert said.count("balanced accuracy") >= len(SHIFTS)


def test_changes_of_pixels() -> None:
    pixels = np.full((2, 4, 4, 3), 200, np.uint8)
    assert (tinted(1.5, 1, 0.5)(pixels)[0, 0, 0] == [255, 200, 100]).all()
    assert (inverted(pixels) == 55).all()
    noise = noisy(pixels).astype(float) - 200
    assert 5 < noise.std() < 15
    assert all(
        change(pixels).shape == pixels.shape and change(pixels).dtype == np.uint8
        for change in SHIFTS.values()
    )
