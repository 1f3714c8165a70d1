"""Decoded images in memory: in order, by the serving contract, without what cannot be read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from data.ham10000 import LesionImage, load_ham10000
from models.classes import CLASSES
from models.preprocessing import decode_image
from training.dataset import load_images


@pytest.fixture(scope="module")
def images(synthetic_dataset: Path) -> list[LesionImage]:
    """Every fifth image, so that neighbours differ in class."""
    return list(load_ham10000(synthetic_dataset).images[::5])


def test_pixels_are_those_of_the_serving_contract_in_order(images: list[LesionImage]) -> None:
    tensors = load_images(images)
    assert tensors.pixels.dtype == torch.uint8
    assert tensors.pixels.shape == (len(images), 3, 224, 224)
    assert tensors.pixels.is_contiguous(memory_format=torch.channels_last)
    for pixels, image in zip(tensors.pixels, images, strict=True):
        expected = decode_image(image.path.read_bytes())
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)
    assert [CLASSES[column] for column in tensors.labels] == [i.diagnosis for i in images]
    assert tensors.unreadable == ()
    assert len(tensors) == len(images)


def test_sharpness_and_counts_follow_the_images(images: list[LesionImage]) -> None:
    mixed = [dataclasses.replace(image, sharp=n % 3 == 0) for n, image in enumerate(images)]
    tensors = load_images(mixed)
    assert tensors.sharp.tolist() == [image.sharp for image in mixed]
    counts = tensors.class_counts()
    assert counts.tolist() == [sum(i.diagnosis == code for i in mixed) for code in CLASSES]


def test_unreadable_images_are_listed_and_left_out(
    images: list[LesionImage], tmp_path: Path
) -> None:
    whole = images[1].path.read_bytes()
    damaged = {"cut.jpg": whole[: len(whole) // 3], "text.jpg": b"no image", "empty.jpg": b""}
    broken = []
    for number, (name, data) in enumerate(damaged.items()):
        (tmp_path / name).write_bytes(data)
        broken.append(dataclasses.replace(images[number], image_id=name, path=tmp_path / name))
    broken.append(dataclasses.replace(images[3], image_id="gone", path=tmp_path / "gone.jpg"))
    readable = images[4:9]
    mixed = [broken[0], readable[0], broken[1], *readable[1:4], broken[2], broken[3], readable[4]]

    tensors = load_images(mixed)

    assert tensors.unreadable == ("cut.jpg", "text.jpg", "empty.jpg", "gone")
    assert torch.equal(tensors.pixels, load_images(readable).pixels)
    assert [CLASSES[column] for column in tensors.labels] == [i.diagnosis for i in readable]
    assert len(tensors.sharp) == len(tensors) == 5


def test_progress_hears_of_every_image_the_broken_one_included(
    images: list[LesionImage], tmp_path: Path
) -> None:
    heard: list[None] = []
    gone = dataclasses.replace(images[0], path=tmp_path / "gone.jpg")
    load_images([gone, *images[:3]], lambda: heard.append(None))
    assert len(heard) == 4


def test_nothing_readable_is_an_empty_split_of_the_right_types(
    images: list[LesionImage], tmp_path: Path
) -> None:
    tensors = load_images([dataclasses.replace(images[0], path=tmp_path / "gone.jpg")])
    assert len(tensors) == 0
    assert tensors.class_counts().tolist() == [0] * len(CLASSES)
    assert load_images([]).class_counts().tolist() == [0] * len(CLASSES)
