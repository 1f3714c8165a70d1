"""Augmentation: in range, repeatable, without corners, and blind to where a file came from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.preprocessing import decode_image
from tests.conftest import SHARED_HAM10000
from training.augmentation import _blur_sharp_ones, augment


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _all(count: int, value: bool) -> torch.Tensor:
    return torch.full((count,), value)


def _decode(files: list[bytes]) -> torch.Tensor:
    pixels = np.stack([decode_image(data) for data in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def lesions() -> torch.Tensor:
    """Two of each class, uint8."""
    return _decode([synthetic_jpeg(code, seed) for code in CLASSES for seed in range(2)])


@pytest.mark.parametrize("size", [32, 128, 224])
def test_the_result_has_the_size_asked_for_and_is_in_range(
    lesions: torch.Tensor, size: int
) -> None:
    out = augment(lesions, _all(len(lesions), True), size, _generator())
    assert out.shape == (len(lesions), 3, size, size)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 255
    assert (out.std(dim=(1, 2, 3)) > 5).all()


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_stay_finite(value: int) -> None:
    images = torch.full((16, 3, 48, 48), value, dtype=torch.uint8)
    out = augment(images, _all(16, True), 48, _generator())
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 255


def test_no_corner_is_empty_but_beyond_a_round_frame() -> None:
    flat = torch.tensor([180, 140, 120], dtype=torch.uint8).view(1, 3, 1, 1).expand(800, 3, 48, 48)
    out = augment(flat, _all(800, True), 48, _generator())
    spread = (out.amax(dim=(2, 3)) - out.amin(dim=(2, 3))).amax(dim=1)
    framed = spread > 0.1
    # An eighth gets a frame; the widest frames lie nearly outside the picture.
    assert 0.08 < framed.float().mean() < 0.15
    middle = out[:, :, 14:34, 14:34]
    assert (middle.amax(dim=(2, 3)) - middle.amin(dim=(2, 3))).max() < 0.1
    dark = out.amax(dim=1) < 1
    corners = dark[:, [0, 0, -1, -1], [0, -1, 0, -1]].sum(dim=1)
    edges = dark[:, [0, 24, 24, -1], [24, 0, -1, 24]].sum(dim=1)
    assert corners[framed].float().mean() > 2 * edges[framed].float().mean()


def test_the_generator_decides_everything(lesions: torch.Tensor) -> None:
    sharp = torch.arange(len(lesions)) % 2 == 0
    before, others_randomness = lesions.clone(), torch.get_rng_state()
    first = augment(lesions, sharp, 64, _generator(1))
    assert torch.equal(first, augment(lesions, sharp, 64, _generator(1)))
    assert not torch.equal(first, augment(lesions, sharp, 64, _generator(2)))
    assert torch.equal(lesions, before)
    assert torch.equal(torch.get_rng_state(), others_randomness)


def test_copies_of_one_image_come_out_different(lesions: torch.Tensor) -> None:
    out = augment(lesions[:1].expand(12, 3, 224, 224), _all(12, True), 64, _generator())
    gaps = torch.cdist(out.flatten(1), out.flatten(1)) / out[0].numel() ** 0.5
    assert gaps[~torch.eye(12, dtype=torch.bool)].min() > 3


def test_unsharp_images_are_never_blurred_further(lesions: torch.Tensor) -> None:
    images = lesions.float()
    assert _blur_sharp_ones(images, _all(len(images), False), _generator()) is images
    sharp = torch.arange(len(images)) % 2 == 0
    blurred = torch.zeros(len(images), dtype=torch.int64)
    for seed in range(20):
        out = _blur_sharp_ones(images, sharp, _generator(seed))
        assert torch.equal(out[~sharp], images[~sharp])
        blurred += (out != images).flatten(1).any(dim=1)
    share = blurred[sharp].sum() / (20 * sharp.sum())
    assert 0.4 < share < 0.6
    assert blurred[sharp].min() > 0


def test_blurring_removes_detail_and_keeps_the_colour(lesions: torch.Tensor) -> None:
    images = lesions.float()
    out = _blur_sharp_ones(images, _all(len(images), True), _generator(1))
    chosen = (out != images).flatten(1).any(dim=1)
    assert chosen.any()
    assert (_detail(out[chosen]) < 0.6 * _detail(images[chosen])).all()
    change = (out[chosen] - images[chosen]).mean(dim=(2, 3)).abs()
    assert change.max() < 1


def _detail(images: torch.Tensor) -> torch.Tensor:
    """Sharpness: the variance of the Laplacian over that of the image, shape (batch,)."""
    grey = images.float().mean(dim=1, keepdim=True)
    laplace = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return functional.conv2d(grey, laplace).var(dim=(1, 2, 3)) / grey.var(dim=(1, 2, 3))


def _sharper_share(images: torch.Tensor) -> float:
    """How often a large file's image is sharper than that of its small copy; 0.5 by chance."""
    large, small = _detail(images).chunk(2)
    return float((large > small).float().mean())


def _augmented(images: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
    generator = _generator()
    out = torch.empty(images.shape)
    for batch in torch.randperm(len(images), generator=generator).split(8):
        out[batch] = augment(images[batch], sharp[batch], 224, generator)
    return out


def _smaller(jpeg: bytes) -> bytes:
    """The file at a third of its size, as part of HAM10000 is often kept."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.reduce(3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _check_sharpness_carries_no_label(large: list[bytes], small: list[bytes]) -> None:
    images = torch.cat([_decode(large), _decode(small)])
    sharp = torch.cat([_all(len(large), True), _all(len(small), False)])
    before = _sharper_share(images)
    unblurred = _sharper_share(_augmented(images, torch.zeros_like(sharp)))
    after = _sharper_share(_augmented(images, sharp))
    assert before > 0.9
    assert abs(after - 0.5) < 0.2
    assert abs(after - 0.5) < abs(unblurred - 0.5)


def test_sharpness_carries_no_label() -> None:
    large = [synthetic_jpeg(code, seed) for code in CLASSES for seed in range(8)]
    _check_sharpness_carries_no_label(large, [_smaller(jpeg) for jpeg in large])


def test_sharpness_carries_no_label_on_real_images(ham10000_samples: list[Path]) -> None:
    small = [SHARED_HAM10000 / "images_200x150" / path.name for path in ham10000_samples]
    _check_sharpness_carries_no_label(
        [path.read_bytes() for path in ham10000_samples], [path.read_bytes() for path in small]
    )
