"""A piece of computed skin: pigment maps, and the shapes that lesions on it are built from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Map = npt.NDArray[np.floating[Any]]
"""float32, shape (height, width): one quantity per pixel."""

Points = npt.NDArray[np.float64]
"""Shape (n, 2), one point (2,): x and y from the lesion's centre, in half short sides."""

Line = tuple[Points, float]
"""A course and the width of what runs along it, in half short sides."""

# Absorbance (natural logarithm) per unit of pigment in red, green and blue.
_ABSORBANCE = {
    "melanin": (0.65, 1.05, 1.40),
    "blood": (0.12, 1.00, 0.60),
    "deep": (0.95, 0.70, 0.42),  # melanin in the dermis, which the skin above turns blue-grey
    "keratin": (0.06, 0.22, 0.85),
}
# What a scar sends back of red, green and blue light, 0 to 1.
_SCATTERED = (0.97, 0.93, 0.92)


class Skin:
    """Pigment maps of a piece of skin, and the shapes that a lesion on it is built from.

    Lengths are in half short sides, positions from the lesion's centre, which lies within
    0.15 of the picture's. The shapes are maps; `add` lays a pigment on the skin in one.

    Attributes:
        rng: source of all randomness.
        x: shape (height, width), each pixel's distance right of the lesion's centre.
        y: likewise below it.
        pigments: amounts by name: melanin, blood, deep (melanin in the dermis) and keratin,
            of which one unit is dense, and scatter, the share of light that scars send back.

    Args:
        width: pixels.
        height: pixels.
        rng: also decides the skin's own colour and texture.
    """

    x: Map
    y: Map
    pigments: dict[str, Map]

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self._width, self._height = width, height
        self._half = np.array([width, height]) / min(width, height)
        self._origin = self._half + rng.uniform(-0.15, 0.15, 2)
        scale = 2 / min(width, height)
        x = ((np.arange(width) + 0.5) * scale - self._origin[0]).astype(np.float32)
        y = ((np.arange(height) + 0.5) * scale - self._origin[1]).astype(np.float32)
        self.x, self.y = np.meshgrid(x, y)
        rough, pores = rng.uniform(0.3, 1.0), self.noise(0.04, 2)
        melanin = rough * (0.02 * pores + 0.03 * self.noise(0.2, 4))
        blood = rough * (0.02 * pores + 0.05 * self.noise(0.3, 5))
        self.pigments = {
            "melanin": rng.uniform(0.03, 0.22) + melanin,
            "blood": rng.uniform(0.08, 0.38) + blood,
            "deep": np.zeros_like(self.x),
            "keratin": np.full_like(self.x, rng.uniform(0, 0.15)),
            "scatter": 0.05 * soft_step(self.noise(0.06, 2) - 1.2, 1),
        }

    def picture(self) -> Image.Image:
        """The skin in even white light, RGB: what pigments leave, and what scars send back."""
        scatter = np.clip(self.pigments["scatter"], 0, 0.9)
        picture = np.empty((self._height, self._width, 3), np.uint8)
        for channel in range(3):
            absorbed = sum(self.pigments[name] * rgb[channel] for name, rgb in _ABSORBANCE.items())
            reflected = np.exp(-np.maximum(absorbed, 0))
            reflected += scatter * (_SCATTERED[channel] - reflected)
            picture[:, :, channel] = np.clip(255 * reflected, 0, 255)
        return Image.fromarray(picture)

    def add(self, pigment: str, amount: Map) -> None:
        """Lay more of a pigment on the skin, in the units of `pigments`."""
        self.pigments[pigment] += amount

    def noise(self, period: float, octaves: int = 1) -> Map:
        """Smooth noise of mean 0 and deviation near 1.

        Args:
            period: length of the largest features.
            octaves: >= 1; each adds features half as long and 0.6 times as strong.
        """
        columns, rows = (2 * self._half / period).tolist()
        grid = np.zeros((int(rows) + 3, int(columns) + 3), np.float32)
        for octave in range(octaves):
            if octave:  # refining the small grid is far cheaper than adding up large pictures
                size = (2 * grid.shape[1], 2 * grid.shape[0])
                grid = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
            grid = grid + 0.6**octave * self.rng.standard_normal(grid.shape, np.float32)
        grid = (grid - grid.mean()) / grid.std()
        finest = 2 ** (octaves - 1)
        left, top = finest * self.rng.random(2)
        box = (left, top, left + columns * finest, top + rows * finest)
        size = (self._width, self._height)
        return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC, box=box))

    def patch(self, radius: float, ragged: float, centre: tuple[float, float] = (0, 0)) -> Map:
        """Height above the border of a round-ish patch: 1 in its centre, 0 on it, then below.

        Args:
            radius: of the patch.
            ragged: deviation of the border, as a share of the radius.
            centre: of the patch.
        """
        angle, stretch = self.rng.uniform(0, np.pi), self.rng.uniform(1, 1.15)
        x, y, cos, sin = self.x - centre[0], self.y - centre[1], math.cos(angle), math.sin(angle)
        along = (cos / stretch) * x + (sin / stretch) * y
        across = (cos * stretch) * y - (sin * stretch) * x
        along *= along  # in place, here and in `soft_step`: fresh arrays cost more than arithmetic
        across *= across
        along += across
        height = ragged * self.noise(0.8 * radius, 5) + 1
        height -= np.sqrt(along, out=along) / radius
        return height

    def network(self, period: float) -> Map:
        """Pigment network: 1 on the lines of a warped honeycomb, 0 in its holes `period` apart."""
        warp = 0.9 * period
        x = (self.x + warp * self.noise(5 * period, 2)) * (2 * np.pi / period)
        y = (self.y + warp * self.noise(5 * period, 2)) * (2 * np.pi / period)
        cells = np.cos(x) + np.cos(0.5 * x + 0.866 * y) + np.cos(0.5 * x - 0.866 * y)
        return soft_step(0.3 - cells, 2.5)

    def scattered(self, count: int, radius: float) -> Points:
        """Points, shape (count, 2), spread evenly over a disc around the lesion's centre."""
        distances = radius * np.sqrt(self.rng.random((count, 1)))
        return distances * directions(self.rng.uniform(0, 2 * np.pi, count))

    def blobs(self, centres: Points, radii: tuple[float, float], blur: float) -> Map:
        """Uneven round spots of strength 0.6 to 1 on 0.

        Args:
            centres: of the spots.
            radii: least and largest radius.
            blur: deviation of the Gaussian that softens the borders.
        """
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        layer = self._layer()
        draw = ImageDraw.Draw(layer)
        for centre in centres:
            phases, depths = self.rng.uniform(0, 2 * np.pi, 2), self.rng.normal(0, 0.12, 2)
            waves = depths @ np.cos(np.outer((2, 3), angles) + phases[:, None])
            outline = self.rng.uniform(*radii) * (1 + waves[:, None]) * directions(angles)
            draw.polygon(self._pixels(centre + outline), fill=int(self.rng.integers(150, 256)))
        return self._soften(layer, blur)

    def strokes(self, lines: list[Line], blur: float) -> Map:
        """Lines of strength 1 on 0, softened by a Gaussian of deviation `blur`."""
        layer = self._layer()
        draw = ImageDraw.Draw(layer)
        for course, width in lines:
            pixels = max(1, round(width * min(layer.size) / 2))
            draw.line(self._pixels(course), fill=255, width=pixels, joint="curve")
        return self._soften(layer, blur)

    def _layer(self) -> Image.Image:
        return Image.new("L", (2 * self._width, 2 * self._height))  # twice the size: smooth edges

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (points + self._origin) * min(self._width, self._height)]

    def _soften(self, layer: Image.Image, blur: float) -> Map:
        blur_pixels = blur * min(self._width, self._height) / 2
        small = layer.reduce(2).filter(ImageFilter.GaussianBlur(blur_pixels))
        return np.asarray(small, dtype=np.float32) / 255


def directions(angles: npt.NDArray[np.floating[Any]]) -> Points:
    """Unit vectors, shape (n, 2), of n angles in radians."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def soft_step(value: Map, softness: float) -> Map:
    """0 to 1 as `value` rises from -softness/2 to softness/2 (> 0), without corners."""
    ramp = value / softness
    ramp += 0.5
    np.clip(ramp, 0, 1, out=ramp)
    smooth = 3 - 2 * ramp
    smooth *= ramp
    smooth *= ramp
    return smooth
