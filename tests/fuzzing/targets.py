"""The targets: each function of ours that reads hostile bytes first, with seeds for it."""

from __future__ import annotations

import asyncio
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from starlette.requests import Request
from starlette.types import Message

from data.archive import unpack
from data.catalogue.values import checked_text
from data.clean_image import clean_image
from data.intake import examine
from data.known_images import KnownImages
from models.errors import DermServeError, InvalidDataset
from models.limits import DEFAULT_LIMITS, ImageLimits
from models.preprocessing import IMAGE_SIZE, decode_image
from serve_app.access.caller import SCOPE_KEY, Caller
from serve_app.body import read_image, read_images, read_json
from serve_app.open_inference import schemas as protocol
from serve_app.open_inference import tensors
from serve_app.open_inference.http_body import read_request
from serve_app.open_inference.messages import inference_request, request_of
from serve_app.settings import ServeSettings
from serve_app.upload_form import open_upload
from serve_app.upload_labels import GivenLabel, by_name, checked, from_csv, from_json
from serve_app.upload_schemas import UploadChange
from tests.fuzzing import bodies, corpus

# What an upload keeps of an image that is no JPEG is compressed anew, which takes 0.1 s for each
# megapixel and so more than a second for the largest ones. A fifth of them shows a hang as well.
UPLOAD_LIMITS = ImageLimits(max_pixels=DEFAULT_LIMITS.max_pixels // 5)

_SETTINGS = ServeSettings()
_ARCHIVE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Target:
    """A function that reads bytes: it returns, or raises an error of the tree."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Mapping[str, bytes]]


def _decode(data: bytes) -> None:
    picture = decode_image(data)
    assert picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


def _clean(data: bytes) -> None:
    clean = clean_image(data, UPLOAD_LIMITS)
    if len(clean.data) < 65_536:  # twice the work, for which small ones are enough
        again = clean_image(clean.data, UPLOAD_LIMITS)
        assert again.data == clean.data, "what is clean is changed by cleaning"
        assert np.array_equal(again.pixels, clean.pixels)


def _examine(data: bytes) -> None:
    found = examine(data, None, KnownImages.load(), UPLOAD_LIMITS)
    assert len(found.hashes) == 8


def _form(data: bytes) -> None:
    asyncio.run(_read_form(data))


async def _read_form(data: bytes) -> None:
    async with open_upload(_request(data), _SETTINGS) as upload:
        assert len(upload.labels) == len(upload.files)
        for file in upload.files:
            await file.read()


def _image(data: bytes) -> None:
    asyncio.run(read_image(_request(data), 4096))


def _batch(data: bytes) -> None:
    asyncio.run(_read_batch(data))


async def _read_batch(data: bytes) -> None:
    files = await read_images(
        _request(data), max_files=8, max_image_bytes=4096, max_bytes=512 * 1024
    )
    for file in files:
        file.name.encode()  # it goes into the answer


def _request(data: bytes) -> Request:
    """The request of a form; how it is cut into messages depends on the bytes."""
    header, body = bodies.unheaded(data)
    step = (1, 7, 1000, 65_536)[zlib.crc32(data) % 4] if len(body) < 4096 else 65_536
    pieces = [body[at : at + step] for at in range(0, len(body), step)] or [b""]

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-type", header.encode("latin-1"))],
        SCOPE_KEY: Caller(None),
    }
    return Request(scope, receive)


def _manifest(data: bytes) -> None:
    _labels(from_csv(data))


def _label_map(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # as Starlette reads such a field
    _labels(from_json(text))


def _labels(given: Mapping[str, GivenLabel]) -> None:
    for label in by_name(given, [*given, "another"]):
        found = checked(label, GivenLabel())
        if isinstance(found, DermServeError):
            check_message(found)


def _small_json(data: bytes) -> None:
    for model in (UploadChange, protocol.IndexRequest, protocol.RepositoryRequest):
        try:
            parsed = asyncio.run(read_json(_request(b"application/json\n" + data), model))
        except DermServeError as error:
            check_message(error)
        else:
            for name, value in parsed.model_dump().items():
                if isinstance(value, str):
                    checked_text(name, value)


def _inference(data: bytes) -> None:
    header, body = bodies.unheaded(data)
    asked = read_request(
        body,
        header or None,
        model="dermserve",
        version="",
        max_json_bytes=_SETTINGS.max_inference_json_bytes,
    )
    asked.id.encode()
    tensors.read_images(asked.inputs, _SETTINGS.max_files)


def _call(data: bytes) -> None:
    asked = inference_request(request_of("ModelInfer", data))
    tensors.read_images(asked.inputs, _SETTINGS.max_files)


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archive").write_bytes(data)
        try:
            unpack(folder / "archive", folder / "into", _ARCHIVE_BYTES)
        except InvalidDataset as error:
            # Its file name is ours here, and stands in the message of a command.
            error.message = error.message.replace(name, "")
            raise
        finally:
            outside = {path.name for path in folder.iterdir()} - {"archive", "into"}
            assert not outside, f"it wrote {outside}"
            assert _size(folder / "into") <= _ARCHIVE_BYTES, "it unpacked more than it may"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


MAX_MESSAGE = 600
"""Characters of an error; what a sender wrote is quoted in part."""


def check_message(error: DermServeError) -> None:
    """Raise `AssertionError` unless an error can be sent and says what it is."""
    assert type(error) is not DermServeError, "the root of the tree was raised"
    assert error.status < 500 or isinstance(error, InvalidDataset), f"{error.code} blames us"
    assert 10 < len(error.message) <= MAX_MESSAGE, f"a message of {len(error.message)} characters"
    error.message.encode()


TARGETS: dict[str, Target] = {
    "decode": Target(_decode, corpus.images),
    "clean": Target(_clean, corpus.images),
    "examine": Target(_examine, corpus.images),
    "predict body": Target(_image, bodies.forms),
    "batch body": Target(_batch, bodies.forms),
    "upload form": Target(_form, bodies.forms),
    "manifest": Target(_manifest, bodies.manifests),
    "label map": Target(_label_map, bodies.label_maps),
    "small json": Target(_small_json, bodies.small_json),
    "v2 over http": Target(_inference, bodies.inferences),
    "v2 over grpc": Target(_call, bodies.calls),
    "archive": Target(_archive, bodies.archives),
}
