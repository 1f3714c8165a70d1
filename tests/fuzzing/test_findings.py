"""What fuzzing has found in bodies and archives; floods in image files: test_pieces.py."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from data.archive import unpack
from models.errors import BodyTooLarge, InvalidDataset, MalformedRequest
from serve_app.open_inference.http_body import MAX_JSON_VALUES, read_request
from serve_app.settings import ServeSettings
from tests.fuzzing.targets import TARGETS

START = b'{"inputs": [{"name": "PIXELS", "shape": [1,224,224,3], "datatype": "UINT8", "data": ['


@pytest.mark.parametrize("target", ["predict body", "batch body", "upload form"])
def test_a_charset_that_no_codec_can_be_named_after(target: str) -> None:
    """Python answers a ValueError, which was answered as a mistake of ours."""
    with pytest.raises(MalformedRequest, match="cannot be read"):
        TARGETS[target].run(b"multipart/form-data;charset=\0\n")


@pytest.mark.parametrize("value", [b"0", b"[]", b"{}", b'""'])
def test_json_of_millions_of_values_is_refused_before_it_is_read(value: bytes) -> None:
    """27 MB of empty lists took four seconds of the thread that serves all, and a gigabyte."""
    body = START + (value + b",") * (MAX_JSON_VALUES + 1) + value + b"]}]}"
    most = ServeSettings().max_inference_json_bytes
    assert len(body) <= most
    with pytest.raises(BodyTooLarge, match="binary form"):
        read_request(body, None, model="dermserve", version="", max_json_bytes=most)


def test_tensors_in_binary_form_may_hold_any_byte() -> None:
    text = b'{"inputs": [{"name": "IMAGE", "shape": [1], "datatype": "BYTES", "parameters": '
    text += b'{"binary_data_size": 2000000}}]}'
    body = text + b"," * 2_000_000
    asked = read_request(
        body, str(len(text)), model="dermserve", version="", max_json_bytes=len(text)
    )
    (tensor,) = asked.inputs
    assert isinstance(tensor.content, memoryview)
    assert len(tensor.content) == 2_000_000


def test_a_member_without_a_name_is_left_in_the_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr("a.jpg", b"picture")
        archive.writestr("b.jpg", b"another")
    data = (tmp_path / "archive").read_bytes()
    # The name of the second one ends before it begins, in both places where it stands.
    (tmp_path / "archive").write_bytes(data.replace(b"b.jpg", b"\0.jpg"))
    assert unpack(tmp_path / "archive", tmp_path / "into") == 1
    assert (tmp_path / "into" / "a.jpg").read_bytes() == b"picture"


def test_what_is_said_of_a_broken_archive_is_short(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jpg", b"n" * 60_000)
    data = bytearray(packed.getvalue())
    # By the header in front of its contents, they are a part of its name.
    data[26:28] = (60_000).to_bytes(2, "little")
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(InvalidDataset, match="cannot be unpacked: File name in dir") as raised:
        unpack(tmp_path / "archive", tmp_path / "into")
    assert len(raised.value.message) < 500


def test_a_broken_stream_of_any_compression_is_no_crash(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            archive.writestr("a.jpg", bytes(range(256)) * 20)
        data = bytearray(packed.getvalue())
        data[50:80] = b"\xff" * 30
        (tmp_path / "archive").write_bytes(data)
        with pytest.raises(InvalidDataset, match="cannot be unpacked"):
            unpack(tmp_path / "archive", tmp_path / str(method))
