"""The GPU's decoder: its geometry is the contract's, its pixels nearly so."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from data.synthetic import synthetic_jpeg, synthetic_lesion
from models.errors import (
    ImageTooLarge,
    ImageTooSmall,
    InvalidConfiguration,
    TruncatedImage,
    UnsupportedImage,
)
from models.limits import ImageLimits
from models.preprocessing import IMAGE_SIZE, decode_image
from serve_app.engines.nvjpeg import NvjpegDecoder, fit

Pixels = npt.NDArray[np.uint8]

MEAN_DIFFERENCE = 1.5
"""Grey levels, of 255, between scaling while decoding and scaling after it."""


def _picture(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _encoded(pixels: Pixels, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def _oriented(pixels: Pixels, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _encoded(pixels, exif=exif)


def _opened(jpeg: bytes) -> Pixels:
    return np.array(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _difference(ours: Pixels, theirs: Pixels) -> float:
    return float(np.abs(ours.astype(np.int16) - theirs.astype(np.int16)).mean())


@pytest.mark.parametrize(
    ("width", "height", "difference"),
    [
        (600, 450, MEAN_DIFFERENCE),
        (450, 600, MEAN_DIFFERENCE),
        (512, 512, MEAN_DIFFERENCE),
        (640, 333, 2 * MEAN_DIFFERENCE),  # here and below the centre is between two pixels
        (301, 224, 2 * MEAN_DIFFERENCE),
        (225, 224, 2 * MEAN_DIFFERENCE),
    ],
)
def test_it_sees_the_part_that_the_contract_sees(
    width: int, height: int, difference: float
) -> None:
    jpeg = _encoded(synthetic_lesion("mel", 3, width, height))
    fitted = fit([_picture(_opened(jpeg))], [1])
    assert fitted.shape == (1, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert fitted.dtype == torch.uint8
    assert fitted.is_contiguous()
    ours, expected = fitted[0].numpy(), decode_image(jpeg)
    assert _difference(ours, expected) < difference
    # A pixel aside would be worse, so the crop is where it belongs.
    for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        assert _difference(ours, expected) <= _difference(np.roll(ours, step, axis), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone(orientation: int) -> None:
    jpeg = _oriented(synthetic_lesion("bkl", 4, 320, 240), orientation)
    ours = fit([_picture(_opened(jpeg))], [orientation])[0].numpy()
    assert _difference(ours, decode_image(jpeg)) < MEAN_DIFFERENCE
    if orientation != 1:
        plain = fit([_picture(_opened(jpeg))], [1])[0].numpy()
        assert _difference(plain, decode_image(jpeg)) > 2 * MEAN_DIFFERENCE


def test_sizes_may_differ_within_a_list() -> None:
    sizes = [(600, 450), (320, 240), (450, 600), (320, 240), (224, 224), (900, 450)]
    pictures = [_picture(synthetic_lesion("nv", seed, *size)) for seed, size in enumerate(sizes)]
    orientations = [1, 6, 3, 1, 8, 2]
    together = fit(pictures, orientations)
    alone = [fit([p], [o])[0] for p, o in zip(pictures, orientations, strict=True)]
    assert torch.equal(together, torch.stack(alone))
    assert len({picture.numpy().tobytes() for picture in alone}) == len(sizes)


def test_an_image_of_the_right_size_stays_as_it_is(lesions: Pixels) -> None:
    fitted = fit([_picture(lesion) for lesion in lesions], [1] * len(lesions))
    assert np.array_equal(fitted.numpy(), lesions)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(InvalidConfiguration, match="nvJPEG needs an NVIDIA GPU"):
        NvjpegDecoder()


class TestRefusals:
    """What it refuses before the GPU sees it."""

    @pytest.fixture
    def decoder(self, monkeypatch: pytest.MonkeyPatch) -> NvjpegDecoder:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        return NvjpegDecoder(ImageLimits(max_pixels=100_000, min_side=16))

    def test_what_is_no_jpeg(self, decoder: NvjpegDecoder) -> None:
        with pytest.raises(UnsupportedImage, match="JPEG only"):
            decoder.decode([b"\x89PNG\r\n\x1a\n"])

    def test_a_damaged_header(self, decoder: NvjpegDecoder) -> None:
        with pytest.raises(TruncatedImage, match="header"):
            decoder.decode([synthetic_jpeg("nv", 1)[:60]])

    def test_another_size(self, decoder: NvjpegDecoder) -> None:
        with pytest.raises(ImageTooLarge):
            decoder.decode([_encoded(np.zeros((400, 400, 3), np.uint8))])
        with pytest.raises(ImageTooSmall):
            decoder.decode([_encoded(np.zeros((8, 40, 3), np.uint8))])

    def test_cmyk(self, decoder: NvjpegDecoder) -> None:
        buffer = io.BytesIO()
        Image.new("CMYK", (64, 64)).save(buffer, "JPEG")
        with pytest.raises(UnsupportedImage, match="CMYK"):
            decoder.decode([buffer.getvalue()])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
class TestOnAGpu:
    """With nvJPEG itself."""

    @pytest.fixture(scope="class")
    def decoder(self) -> NvjpegDecoder:
        return NvjpegDecoder()

    def test_pixels_are_nearly_the_contracts(self, decoder: NvjpegDecoder) -> None:
        jpegs = [synthetic_jpeg("mel", seed) for seed in range(16)]
        pixels = decoder.decode(jpegs)
        assert pixels.is_cuda
        assert pixels.shape == (16, IMAGE_SIZE, IMAGE_SIZE, 3)
        assert pixels.is_contiguous()
        for ours, jpeg in zip(pixels.cpu().numpy(), jpegs, strict=True):
            assert _difference(ours, decode_image(jpeg)) < MEAN_DIFFERENCE

    def test_real_images_too(self, decoder: NvjpegDecoder, ham10000_samples: list[Path]) -> None:
        jpegs = [path.read_bytes() for path in ham10000_samples]
        for ours, jpeg in zip(decoder.decode(jpegs).cpu().numpy(), jpegs, strict=True):
            assert _difference(ours, decode_image(jpeg)) < 3 * MEAN_DIFFERENCE

    def test_lists_in_a_row_do_not_mix(self, decoder: NvjpegDecoder) -> None:
        lists = [[synthetic_jpeg("nv", 10 * row + n) for n in range(8)] for row in range(3)]
        expected = [decoder.decode(jpegs) for jpegs in lists]
        for _ in range(10):
            assert all(
                torch.equal(decoder.decode(jpegs), pixels)
                for jpegs, pixels in zip(lists, expected, strict=True)
            )

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_is_undone(self, decoder: NvjpegDecoder, orientation: int) -> None:
        jpeg = _oriented(synthetic_lesion("bkl", 4, 320, 240), orientation)
        ours = decoder.decode([jpeg])[0].cpu().numpy()
        assert _difference(ours, decode_image(jpeg)) < MEAN_DIFFERENCE

    @pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}])
    def test_kinds_of_jpeg(self, decoder: NvjpegDecoder, options: dict[str, object]) -> None:
        jpeg = _encoded(synthetic_lesion("df", 5, 600, 450), **options)
        ours = decoder.decode([jpeg])[0].cpu().numpy()
        assert _difference(ours, decode_image(jpeg)) < MEAN_DIFFERENCE

    def test_grey(self, decoder: NvjpegDecoder) -> None:
        buffer = io.BytesIO()
        Image.fromarray(synthetic_lesion("df", 5, 600, 450)).convert("L").save(buffer, "JPEG")
        ours = decoder.decode([buffer.getvalue()])[0].cpu().numpy()
        assert _difference(ours, decode_image(buffer.getvalue())) < MEAN_DIFFERENCE

    def test_a_damaged_one_is_refused_and_the_next_decoded(self, decoder: NvjpegDecoder) -> None:
        whole = synthetic_jpeg("vasc", 6)
        broken = whole[:200] + b"\xff\xd9"
        with pytest.raises(TruncatedImage):
            decoder.decode([whole, broken])
        assert decoder.decode([whole]).shape == (1, IMAGE_SIZE, IMAGE_SIZE, 3)
