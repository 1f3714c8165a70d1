"""Pictures that show no lesion, drawn from a seed: what a model should decline to judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from matplotlib import cbook
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_image

from models.preprocessing import IMAGE_SIZE

Picture = npt.NDArray[np.uint8]
_SIZE = (IMAGE_SIZE, IMAGE_SIZE)
_Draw = Callable[[np.random.Generator], Image.Image]

SKIN = ((236, 188, 180), (224, 172, 105), (198, 134, 66), (141, 85, 36), (255, 219, 200))
"""RGB of plain skin, from light to dark: a picture of nothing but skin holds no lesion either."""


def non_lesions(count: int = 200, seed: int = 7) -> tuple[list[str], Picture]:
    """A mixed bag: photographs, noise, pages of text, plain colours, drawn faces, patterns.

    Args:
        count: of pictures, taken from the kinds in turn.
        seed: the same gives the same pictures.

    Returns:
        The kind of each picture, and the pictures: uint8, shape (count, 224, 224, 3), RGB.
    """
    kinds = list(_KINDS)
    names = [kinds[index % len(kinds)] for index in range(count)]
    pictures = [
        np.asarray(_KINDS[name](np.random.default_rng([seed, index])).convert("RGB").resize(_SIZE))
        for index, name in enumerate(names)
    ]
    return names, np.stack(pictures) if pictures else np.empty((0, *_SIZE, 3), np.uint8)


def _photograph(rng: np.random.Generator) -> Image.Image:
    """A part of one of the photographs that scikit-learn and matplotlib bring along."""
    name = rng.choice(["china.jpg", "flower.jpg", "grace_hopper.jpg"])
    if name == "grace_hopper.jpg":
        picture = Image.open(str(cbook.get_sample_data(name, asfileobj=False))).convert("RGB")
    else:
        picture = Image.fromarray(load_sample_image(name))
    side = int(min(picture.size) * rng.uniform(0.5, 1.0))
    left = int(rng.integers(0, picture.width - side + 1))
    top = int(rng.integers(0, picture.height - side + 1))
    return picture.crop((left, top, left + side, top + side))


def _noise(rng: np.random.Generator) -> Image.Image:
    """White or coloured noise, per channel or grey."""
    channels = int(rng.choice([1, 3]))
    values = rng.normal(0, 1, (*_SIZE, channels))
    values = gaussian_filter(values, (width := rng.choice([0, 0.7, 2, 6]), width, 0))
    values = 128 + values / values.std() * rng.uniform(20, 70)
    return _image(np.broadcast_to(values, (*_SIZE, 3)))


def _text(rng: np.random.Generator) -> Image.Image:
    """A screenshot of text, dark on light or light on dark."""
    paper, ink = _color(rng, 200, 256), _color(rng, 0, 80)
    if rng.random() < 0.4:
        paper, ink = ink, paper
    size = int(rng.integers(9, 26))
    font = ImageFont.load_default(size)
    picture = Image.new("RGB", _SIZE, paper)
    draw = ImageDraw.Draw(picture)
    for top in range(4, IMAGE_SIZE, int(size * 1.3)):
        if rng.random() < 0.1:
            continue  # a paragraph ends
        words = ("".join(map(chr, rng.integers(97, 123, rng.integers(1, 10)))) for _ in range(12))
        draw.text((8, top), " ".join(words), ink, font)
    return picture


def _plain(rng: np.random.Generator) -> Image.Image:
    """One colour, any or that of skin, or a slow gradient between two."""
    colors = [
        np.array(SKIN[rng.integers(len(SKIN))]) if rng.random() < 0.3 else rng.integers(0, 256, 3)
        for _ in range(2)
    ]
    if rng.random() < 0.6:
        return Image.new("RGB", _SIZE, tuple(int(value) for value in colors[0]))
    ramp = np.linspace(0, 1, IMAGE_SIZE)[:, None, None]
    values = np.broadcast_to(colors[0] * ramp + colors[1] * (1 - ramp), (*_SIZE, 3))
    return _image(values if rng.random() < 0.5 else values.transpose(1, 0, 2))


def _face(rng: np.random.Generator) -> Image.Image:
    """A drawn face: head, hair, eyes, nose and mouth."""
    picture = Image.new("RGB", _SIZE, _color(rng, 0, 256))
    draw = ImageDraw.Draw(picture)
    middle = IMAGE_SIZE / 2 + rng.uniform(-15, 15)
    width, height = rng.uniform(45, 80), rng.uniform(65, 100)
    skin = SKIN[rng.integers(len(SKIN))]
    top, bottom = 112 - height, 112 + height
    draw.ellipse((middle - width - 6, top - 10, middle + width + 6, 130), fill=_color(rng, 0, 120))
    draw.ellipse((middle - width, top + 8, middle + width, bottom), fill=skin)
    for side in (-1, 1):
        x, y, r = middle + side * width * 0.4, 100, rng.uniform(5, 11)
        draw.ellipse((x - 1.6 * r, y - r, x + 1.6 * r, y + r), fill="white")
        draw.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=_color(rng, 0, 120))
        draw.line((x - 2 * r, y - 2 * r, x + 2 * r, y - 2 * r), fill=_color(rng, 0, 80), width=4)
    draw.line((middle, 105, middle - 6, 132, middle + 4, 133), fill=_color(rng, 60, 140), width=2)
    draw.chord((middle - 22, 135, middle + 22, 165), 0, 180, fill=(180, 40, 50))
    return picture


def _pattern(rng: np.random.Generator) -> Image.Image:
    """Checks, stripes, rings, bricks or a bar chart in two colours."""
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    period = rng.uniform(6, 40)
    angle = rng.uniform(0, np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    along = y * np.cos(angle) - x * np.sin(angle)
    bars = rng.uniform(20, 200, 1 + IMAGE_SIZE // 16)
    shapes = (
        (across // period + along // period) % 2,
        (across // period) % 2,
        (np.hypot(x - 112, y - 112) // period) % 2,
        (y % period < 3) | ((x + (y // period % 2) * period) % (2 * period) < 3),
        IMAGE_SIZE - y < bars[x // 16],
    )
    inside = np.asarray(shapes[rng.integers(len(shapes))], bool)[..., None]
    return _image(np.where(inside, _color(rng, 0, 256), _color(rng, 0, 256)))


_KINDS: dict[str, _Draw] = {
    "photograph": _photograph,
    "noise": _noise,
    "text": _text,
    "plain": _plain,
    "face": _face,
    "pattern": _pattern,
}


def _color(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _image(values: npt.NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
