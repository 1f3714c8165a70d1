"""Augmentation of whole batches on the training device: geometry, colour and sharpness."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def augment(
    images: torch.Tensor, sharp: torch.Tensor, size: int, generator: torch.Generator
) -> torch.Tensor:
    """Turn, flip, zoom, recolour and blur each image of a batch at random.

    Args:
        images: uint8, shape (batch, 3, height, width).
        sharp: bool, shape (batch,); False marks images enlarged from a smaller file.
        size: side of the result in pixels.
        generator: source of all randomness, on the device of `images`.

    Returns:
        float32 in 0..255, shape (batch, 3, size, size).
    """
    pixels = images.float()
    pixels = _blur_sharp_ones(pixels, sharp, generator)
    pixels = _transform(pixels, size, generator)
    pixels = _recolour(pixels, generator)
    return _darken_corners(pixels, generator)


def _uniform(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _blur_sharp_ones(
    images: torch.Tensor, sharp: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Scale half of the sharp images down and up again, so that blur carries no label.

    Part of HAM10000 may be at hand only at 200x150, and which part that is depends on the
    class. The factor surrounds the 150/224 by which those images were enlarged.
    """
    chosen = sharp & (_uniform((len(images),), 0, 1, generator) < 0.5)
    if not chosen.any():
        return images
    factor = float(_uniform((1,), 0.6, 1.0, generator))
    small = functional.interpolate(
        images[chosen], scale_factor=factor, mode="bilinear", antialias=True
    )
    images = images.clone()
    images[chosen] = functional.interpolate(
        small, size=images.shape[-2:], mode="bilinear", antialias=False
    )
    return images


def _transform(images: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random rotation, flip, zoom (0.6 to 1.1 of the side), stretch and shift, mirrored edges."""
    count = len(images)
    angle = _uniform((count,), 0, 2 * math.pi, generator)
    flip = torch.where(_uniform((count,), 0, 1, generator) < 0.5, -1.0, 1.0)
    zoom = _uniform((count,), 0.6, 1.1, generator)
    stretch = torch.exp(_uniform((count,), -0.15, 0.15, generator))
    room = 0.7 * (1 - zoom).clamp(min=0.05)
    shift_x = _uniform((count,), -1, 1, generator) * room
    shift_y = _uniform((count,), -1, 1, generator) * room
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack(
        [
            torch.stack([zoom * stretch * cos * flip, -zoom * sin, shift_x], dim=1),
            torch.stack([zoom * sin * flip, zoom / stretch * cos, shift_y], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix, [count, 3, size, size], align_corners=False)
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _recolour(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random brightness, contrast, saturation, white balance and gamma, as cameras differ."""
    shape = (len(images), 1, 1, 1)
    gain = _uniform((len(images), 3, 1, 1), 0.9, 1.1, generator)
    brightness = _uniform(shape, 0.8, 1.2, generator)
    images = images * gain * brightness
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * _uniform(shape, 0.7, 1.3, generator)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    images = level + (images - level) * _uniform(shape, 0.75, 1.25, generator)
    gamma = torch.exp(_uniform(shape, -0.2, 0.2, generator))
    return 255 * (images / 255).clamp(1e-4, 1).pow(gamma)


def _darken_corners(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Black out what lies beyond a circle in one image of eight, as other dermatoscopes do.

    HAM10000 hardly shows the rim of the instrument; archives from other clinics often do.
    """
    count, size = len(images), images.shape[-1]
    axis = torch.linspace(-1, 1, size, device=images.device)
    centre = _uniform((2, count, 1, 1), -0.1, 0.1, generator)
    radius = _uniform((count, 1, 1), 0.95, 1.3, generator)
    distance = torch.hypot(axis[:, None] - centre[0], axis - centre[1])
    inside = ((radius - distance) * 25).clamp(0, 1)
    chosen = _uniform((count, 1, 1), 0, 1, generator) < 0.125
    return images * torch.where(chosen, inside, 1.0).unsqueeze(1)
