"""The pixels agree with the transform that torchvision's own recipes train with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from data.synthetic import synthetic_jpeg
from models.preprocessing import IMAGE_SIZE, decode_image

REFERENCE = v2.Compose(
    [v2.ToImage(), v2.Resize(IMAGE_SIZE, antialias=True), v2.CenterCrop(IMAGE_SIZE)]
)
SIZES = [(600, 450), (450, 600), (1024, 768), (640, 480), (300, 225), (900, 300), (333, 777)]


def _difference(data: bytes) -> float:
    """Mean absolute difference in grey levels from the reference on full-resolution pixels."""
    with Image.open(io.BytesIO(data)) as image:
        expected = REFERENCE(image.convert("RGB")).permute(1, 2, 0).numpy().astype(int)
    return float(np.abs(decode_image(data) - expected).mean())


@pytest.mark.parametrize("diagnosis", ["mel", "vasc", "bkl"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_synthetic_jpegs(diagnosis: str, width: int, height: int) -> None:
    assert _difference(synthetic_jpeg(diagnosis, 3, width, height)) <= 2


@pytest.mark.parametrize(("width", "height"), [(224, 224), (64, 64), (16, 16)])
def test_without_scaling_down_the_pixels_are_the_same(width: int, height: int) -> None:
    assert _difference(synthetic_jpeg("mel", 3, width, height)) <= 0.1


def test_real_images(ham10000_samples: list[Path]) -> None:
    differences = [_difference(path.read_bytes()) for path in ham10000_samples]
    assert np.mean(differences) <= 1
    assert np.mean(np.array(differences) <= 2) >= 0.95
    # Under dense hair, where scaling in the DCT domain keeps more of the contrast.
    assert max(differences) <= 3.5
