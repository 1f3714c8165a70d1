"""Lesion-like dermatoscopic pictures of the seven diagnoses, computed and not photographed.

Tests, demos and load tests use them, so that no patient's image is ever stored beside the
code. A picture is made as skin makes it: maps of pigments absorb light per colour channel
(Beer-Lambert), scars and scales scatter it back. Only the maps differ between diagnoses.
The pictures carry each diagnosis' textbook signs; they say nothing about real accuracy.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.ham10000 import METADATA_FILE
from data.synthetic_skin import Line, Points, Skin, directions, soft_step
from models.classes import CLASSES, MALIGNANT
from models.errors import InvalidConfiguration
from models.limits import DEFAULT_LIMITS


def _nv(skin: Skin, size: float) -> None:
    """Nevus: symmetric, one brown, a faint network that fades at the border."""
    height = skin.patch(size, 0.09)
    body = soft_step(height - 0.1, 0.5)
    density = skin.rng.uniform(0.6, 1.3) * (0.7 + 0.45 * np.clip(height, 0, 1))
    mesh = 0.9 + 0.18 * skin.network(skin.rng.uniform(0.05, 0.08)) + 0.15 * skin.noise(0.2, 5)
    skin.add("melanin", body * density * mesh)


def _mel(skin: Skin, size: float) -> None:
    """Melanoma: lobes of several browns, a blue-grey veil, white regression, black dots."""
    mesh = (
        0.75 + 0.4 * skin.network(0.1) * soft_step(skin.noise(0.5), 1.0) + 0.2 * skin.noise(0.2, 5)
    )
    veil, scar, *lobes = skin.scattered(5, 0.6 * size).tolist()
    whole = np.zeros_like(skin.x)
    for centre in lobes:
        lobe = soft_step(skin.patch(size * skin.rng.uniform(0.55, 1.0), 0.28, centre), 0.35)
        skin.add("melanin", skin.rng.uniform(0.4, 1.2) * lobe * mesh)
        whole = np.maximum(whole, lobe)
    skin.add("blood", 0.3 * whole * soft_step(skin.noise(0.6, 2), 2))
    dots = skin.blobs(skin.scattered(25, 1.1 * size), (0.01, 0.03), 0.006)
    skin.add("melanin", 1.3 * dots * whole)
    regression = whole * soft_step(skin.patch(0.45 * size, 0.35, scar), 1)
    skin.pigments["melanin"] *= 1 - 0.75 * regression
    skin.add("scatter", 0.3 * regression)
    skin.add("deep", 1.1 * whole * soft_step(skin.patch(0.5 * size, 0.35, veil), 1))


def _bcc(skin: Skin, size: float) -> None:
    """Basal cell carcinoma: pearly pink, branching vessels, blue-grey ovoid nests."""
    body = soft_step(skin.patch(size, 0.16), 0.5)
    skin.add("blood", 0.35 * body * (1 + 0.4 * skin.noise(0.3, 5)))
    skin.add("scatter", body * np.clip(0.2 + 0.15 * skin.noise(0.25, 4), 0, 1))
    centres = skin.scattered(int(skin.rng.integers(4, 12)), 0.8 * size)
    nests = skin.blobs(centres, (0.02, 0.1), 0.025)
    skin.add("deep", 0.9 * nests * np.clip(0.8 + 0.4 * skin.noise(0.15, 4), 0, 2))
    vessels: list[Line] = []
    for start in skin.scattered(4, 1.1 * size):
        inward = math.atan2(-start[1], -start[0]) + skin.rng.normal(0, 0.6)
        vessels += _tree(skin.rng, start, inward, 0.02)
    skin.add("blood", 0.8 * skin.strokes(vessels, 0.004))


def _tree(rng: np.random.Generator, start: Points, heading: float, width: float) -> list[Line]:
    """A winding vessel that forks into thinner ones."""
    headings = heading + np.cumsum(rng.normal(0, 0.3, 9))
    steps = (0.01 + 1.2 * width) * directions(headings)
    course = np.cumsum(np.vstack([start, steps]), axis=0)
    lines = [(course, width)]
    if width > 0.008:
        for side in (-1, 1):
            turned = headings[-1] + side * rng.uniform(0.3, 0.9)
            lines += _tree(rng, course[-1], turned, 0.68 * width)
    return lines


def _akiec(skin: Skin, size: float) -> None:
    """Actinic keratosis: a red scaly patch around pale follicles, brown in places."""
    body = soft_step(skin.patch(1.1 * size, 0.3), 1.0)
    skin.add("blood", body * np.clip(0.45 + 0.18 * skin.noise(0.15, 4), 0.05, 2))
    skin.add("melanin", 0.5 * body * soft_step(skin.noise(0.5, 5) - 0.5, 1.6))
    follicles = skin.blobs(skin.scattered(45, 1.1 * size), (0.015, 0.035), 0.012)
    skin.add("keratin", 0.5 * body * follicles)
    scales = soft_step(skin.noise(0.12, 4) - 1.5, 1.2)
    skin.add("keratin", 0.4 * body * scales)
    skin.add("scatter", body * np.clip(0.35 * follicles + 0.5 * scales, 0, 1))


def _bkl(skin: Skin, size: float) -> None:
    """Seborrheic keratosis: sharp border, yellow-brown ridges, white cysts, dark plugs."""
    body = soft_step(skin.patch(size, 0.13), 0.12)
    ridges = soft_step(0.5 - np.abs(skin.noise(0.14, 2)), 0.9)
    density = skin.rng.uniform(0.3, 0.9)
    skin.add("melanin", body * density * (0.75 + 0.35 * ridges + 0.2 * skin.noise(0.3, 5)))
    skin.add("keratin", body * (skin.rng.uniform(0.15, 0.5) + 0.12 * skin.noise(0.25, 4)))
    plugs = skin.blobs(skin.scattered(12, 0.85 * size), (0.012, 0.035), 0.012)
    skin.add("melanin", 0.9 * body * plugs)
    cysts = skin.blobs(skin.scattered(18, 0.85 * size), (0.012, 0.035), 0.016)
    skin.add("scatter", 0.7 * body * cysts)


def _df(skin: Skin, size: float) -> None:
    """Dermatofibroma: a white scar in the centre of a delicate brown ring."""
    height = skin.patch(0.85 * size, 0.1)
    ring = np.exp(-(((height - 0.35) / 0.45) ** 2))
    mesh = 0.85 + 0.2 * skin.network(0.06) + 0.15 * skin.noise(0.2, 5)
    skin.add("melanin", skin.rng.uniform(0.25, 0.55) * ring * mesh)
    skin.add("blood", 0.2 * soft_step(height, 0.8))
    strands = 0.6 + 0.4 * soft_step(0.4 - np.abs(skin.noise(0.15, 3)), 0.8)
    skin.add("scatter", 0.6 * strands * soft_step(skin.patch(0.42 * size, 0.25), 1.2))


def _vasc(skin: Skin, size: float) -> None:
    """Vascular lesion: sharply bordered red to purple lacunae between pale septa."""
    lacunae = skin.blobs(skin.scattered(32, 0.6 * size), (0.08 * size, 0.2 * size), 0.01)
    body = np.maximum(soft_step(skin.patch(0.7 * size, 0.1), 0.25), soft_step(lacunae - 0.3, 0.5))
    shade = 1 + 0.15 * skin.noise(0.2, 4)
    skin.add("blood", body * shade * (0.6 + 1.1 * lacunae))
    skin.add("deep", skin.rng.uniform(0, 0.7) * body * shade * (0.2 + 0.8 * lacunae))


_DRAW: dict[str, Callable[[Skin, float], None]] = dict(
    zip(CLASSES, (_akiec, _bcc, _bkl, _df, _mel, _nv, _vasc), strict=True)
)


def _hairs(skin: Skin) -> list[Line]:
    """None on most pictures, else a few that lie roughly one way."""
    rng = skin.rng
    hairs, lie = [], rng.uniform(0, 2 * np.pi)
    for root in skin.scattered(int(rng.choice([0, 0, 0, 3, 8])), 1.4):
        headings = lie + rng.normal(0, 0.5) + rng.normal(0, 0.035) * np.arange(24)
        course = root + rng.uniform(0.02, 0.05) * np.cumsum(directions(headings), axis=0)
        hairs.append((course, rng.uniform(0.005, 0.013)))
    return hairs


def _scene(diagnosis: str, rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A lesion on skin, evenly lit, before any camera."""
    skin = Skin(width, height, rng)
    _DRAW[diagnosis](skin, rng.uniform(0.4, 0.75))
    skin.add("melanin", rng.uniform(0.6, 1.5) * skin.strokes(_hairs(skin), 0.003))
    return skin.picture()


def _photograph(scene: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The scene through a dermatoscope: light of some colour, vignetting, sensor noise."""
    light = np.array([0.97, rng.uniform(0.92, 1.0), rng.uniform(0.9, 1.06)], np.float32)
    x = np.linspace(-1, 1, scene.width, dtype=np.float32) - rng.uniform(-0.15, 0.15)
    y = np.linspace(-1, 1, scene.height, dtype=np.float32)[:, None] - rng.uniform(-0.15, 0.15)
    gain = 1 - rng.uniform(0.06, 0.16) * (x * x + y * y)
    pixels = np.asarray(scene) * gain[:, :, None]
    pixels *= light
    pixels += 2.5 * rng.standard_normal((scene.height, scene.width, 1), np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _turned(scene: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The scene from another hold of the dermatoscope: turned, shifted and closer."""
    angle = rng.uniform(-8, 8) + rng.choice([0, 180])
    left, top = rng.uniform(0.08, 0.12, 2) * scene.size
    # Of a 4:3 picture, a turn by 8 degrees leaves this much without empty corners.
    box = (left, top, left + 0.8 * scene.width, top + 0.8 * scene.height)
    turned = scene.rotate(angle, Image.Resampling.BICUBIC)
    return turned.resize(scene.size, Image.Resampling.BICUBIC, box=box)


def _jpeg(pixels: npt.NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def synthetic_lesion(
    diagnosis: str, seed: int, width: int = 600, height: int = 450
) -> npt.NDArray[np.uint8]:
    """Make a picture that shows the textbook signs of a diagnosis.

    Args:
        diagnosis: one of `CLASSES`.
        seed: >= 0; each names another lesion, the same bytes every time on one platform.
        width: pixels, >= 16.
        height: pixels, >= 16.

    Returns:
        uint8, shape (height, width, 3), RGB.

    Raises:
        InvalidConfiguration: if the diagnosis is unknown or a number is out of range.
    """
    _check(diagnosis, seed, width, height)
    rng = np.random.default_rng([seed, CLASSES.index(diagnosis)])
    return _photograph(_scene(diagnosis, rng, width, height), rng)


def synthetic_jpeg(
    diagnosis: str, seed: int, width: int = 600, height: int = 450, quality: int = 95
) -> bytes:
    """Encode the picture of `synthetic_lesion` as JPEG.

    Args:
        diagnosis, seed, width, height: as in `synthetic_lesion`.
        quality: of the JPEG, 1 to 95.

    Raises:
        InvalidConfiguration: if the diagnosis is unknown or a number is out of range.
    """
    if not 1 <= quality <= 95:
        raise InvalidConfiguration(f"A JPEG's quality is 1 to 95, not {quality}.")
    return _jpeg(synthetic_lesion(diagnosis, seed, width, height), quality)


def write_synthetic_ham10000(
    folder: Path, lesions_per_class: int, seed: int, width: int = 300, height: int = 225
) -> None:
    """Write a small dataset in the published layout of HAM10000.

    Every third lesion of a class has a second image, which shows it from another hold.

    Args:
        folder: created if absent; receives the metadata file and `HAM10000_images`.
        lesions_per_class: >= 1; a split needs 3.
        seed: >= 0; the same files every time on one platform.
        width: pixels, >= 16.
        height: pixels, >= 16.

    Raises:
        InvalidConfiguration: if a number is out of range.
    """
    _check(CLASSES[0], seed, width, height)
    if lesions_per_class < 1:
        raise InvalidConfiguration(
            f"A dataset needs at least 1 lesion per class, not {lesions_per_class}."
        )
    images = folder / "HAM10000_images"
    images.mkdir(parents=True, exist_ok=True)
    rows = [("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")]
    for number in range(len(CLASSES) * lesions_per_class):
        column, index = divmod(number, lesions_per_class)
        diagnosis = CLASSES[column]
        # From 1, because a trailing 0 would seed the very lesion of `synthetic_lesion`.
        rng = np.random.default_rng([seed, column, index + 1])
        scene = _scene(diagnosis, rng, width, height)
        views = [scene, _turned(scene, rng)] if index % 3 == 0 else [scene]
        source = "histo" if diagnosis in MALIGNANT else str(rng.choice(["histo", "follow_up"]))
        age, sex = f"{5 * rng.integers(5, 18)}.0", str(rng.choice(["female", "male"]))
        for view in views:
            lesion_id, image_id = f"SYNLESION_{number + 1:07d}", f"SYN_{len(rows):07d}"
            (images / f"{image_id}.jpg").write_bytes(_jpeg(_photograph(view, rng), quality=95))
            rows.append((lesion_id, image_id, diagnosis, source, age, sex, "trunk"))
    with (folder / METADATA_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _check(diagnosis: str, seed: int, width: int, height: int) -> None:
    if diagnosis not in CLASSES:
        raise InvalidConfiguration(
            f"{diagnosis!r} is no diagnosis of HAM10000. Use one of {', '.join(CLASSES)}."
        )
    if seed < 0 or min(width, height) < DEFAULT_LIMITS.min_side:
        raise InvalidConfiguration(
            f"Seed {seed} at {width} x {height} pixels is out of range. Use a seed of 0 or more "
            f"and at least {DEFAULT_LIMITS.min_side} pixels on each side."
        )
