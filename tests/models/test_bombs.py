"""Small files that decode to huge pictures are refused before they cost time or memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from models.errors import ImageTooLarge
from models.limits import DEFAULT_LIMITS, ImageLimits
from models.preprocessing import decode_image
from tests.conftest import PROJECT
from tests.models.images import (
    GREY,
    RGB,
    bmp_of_size,
    deflated,
    encode,
    gif_of_size,
    jpeg_of_scans,
    jpeg_of_size,
    png,
    scene,
    tiff,
    tiled_tiff,
)

MIB = 2**20

# A process of its own, because the peak is the process's and an allocator that training has
# set up in this one keeps what was freed.
MEASURE = """
import json, pathlib, sys, time
from models.errors import DermServeError
from models.limits import ImageLimits
from models.preprocessing import decode_image

def memory_bytes(field):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024

data, limits = pathlib.Path(sys.argv[1]).read_bytes(), ImageLimits(int(sys.argv[2]))
pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before, started, code = memory_bytes("VmRSS"), time.perf_counter(), "decoded"
try:
    decode_image(data, limits)
except DermServeError as error:
    code = error.code
seconds = time.perf_counter() - started
print(json.dumps([code, seconds, memory_bytes("VmHWM") - before]))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")


class Cost(NamedTuple):
    """What decoding came to."""

    code: str
    """Of the error; "decoded" if there was none."""
    seconds: float
    memory_bytes: int
    """Above what the process had before, at its peak."""


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., Cost]:
    def run(data: bytes, max_pixels: int = DEFAULT_LIMITS.max_pixels) -> Cost:
        path = tmp_path / "image"
        path.write_bytes(data)
        command = [sys.executable, "-c", MEASURE, str(path), str(max_pixels)]
        answer = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True)
        return Cost(*json.loads(answer.stdout))

    return run


BOMBS: dict[str, Callable[[], bytes]] = {
    "one-bit png": lambda: png(20_000, 20_000, 1, GREY, deflated(20_000 * 2_501)),
    "grey png": lambda: png(20_000, 20_000, 8, GREY, deflated(20_000 * 20_001)),
    "jpeg header": lambda: jpeg_of_size(30_000, 30_000),
    "png header": lambda: png(30_000, 30_000, 8, RGB, b""),
    "largest png header": lambda: png(2**31 - 1, 2**31 - 1, 16, RGB, b""),
    "gif frame": lambda: gif_of_size(65_535, 65_535),
    "bmp header": lambda: bmp_of_size(30_000, 30_000),
    "tiff header": lambda: tiff({256: 30_000, 257: 30_000, 258: 8, 259: 1, 262: 1}, b"\0"),
    "webp": lambda: encode(Image.new("L", (16_383, 4_000)), "WEBP", lossless=True, method=0),
    "one tiff tile": lambda: tiled_tiff(224, 224, tile=20_000),
    "jpeg passes": lambda: jpeg_of_scans(side=3_000, scans=2_000),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(
    bomb: Callable[[], bytes], measure: Callable[..., Cost]
) -> None:
    data = bomb()
    assert len(data) < MIB
    cost = measure(data)
    assert cost.code == "image_too_large"
    assert cost.seconds < 0.5
    assert cost.memory_bytes < 16 * MIB


@pytest.mark.parametrize(
    "data",
    [jpeg_of_size(7_000, 7_000), png(4_900, 4_900, 8, GREY, deflated(1000))],
    ids=["jpeg", "png"],
)
def test_a_size_within_the_limit_that_the_bytes_do_not_hold(
    data: bytes, measure: Callable[..., Cost]
) -> None:
    cost = measure(data)
    assert cost.code == "truncated_image"
    assert cost.seconds < 2
    assert cost.memory_bytes < 256 * MIB


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("PNG", "RGBA"), ("PNG", "LA"), ("GIF", "P"), ("WEBP", "RGBA"), ("TIFF", "RGB")],
)
def test_memory_follows_from_the_largest_size(
    file_format: str, mode: str, measure: Callable[..., Cost]
) -> None:
    options = {"transparency": 0} if mode == "P" else {}
    data = encode(Image.new(mode, (2_000, 2_000)), file_format, **options)
    cost = measure(data, max_pixels=8_000_000)  # half of it in these formats
    assert cost.code == "decoded"
    # The worst is WebP: four canvases of four bytes per pixel.
    assert cost.memory_bytes < 4_000_000 * 20


def test_a_progressive_jpeg_with_usual_passes_is_decoded() -> None:
    data = encode(scene(3_000, 2_000), "JPEG", progressive=True)
    assert decode_image(data, ImageLimits(max_pixels=6_000_000)).any()


def test_scan_markers_in_what_follows_a_picture_are_not_counted() -> None:
    """Phones append a film to a picture, in which any two bytes occur."""
    data = encode(scene(3_000, 2_000), "JPEG") + b"\xff\xda" * 10_000
    assert decode_image(data, ImageLimits(max_pixels=6_000_000)).any()


def test_no_comment_hides_the_passes() -> None:
    bomb = jpeg_of_scans(side=3_000, scans=2_000)
    harmless = b"\xff\xc0\0\x0b\x08\0\x40\0\x40\x01\x01\x11\0"
    plain = b"\xff\xd8\xff\xfe" + (2 + len(harmless)).to_bytes(2, "big") + harmless
    # After a fill byte, which decoders skip, the length of the comment reads as 0xfeff.
    filled = b"\xff\xd8\xff\xff\xfe\xff\xff" + bytes(0xFEFF + 4 - 7) + harmless
    for start in (plain, filled + bytes(0xFFFF + 5 - len(filled))):
        with pytest.raises(ImageTooLarge, match="passes"):
            decode_image(start + bomb[2:])


def test_tiles_within_the_limit_are_decoded() -> None:
    assert decode_image(tiled_tiff(224, 224, tile=256)).max() == 0
