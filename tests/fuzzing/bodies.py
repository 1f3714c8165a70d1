"""Request bodies as seeds: forms, manifests, JSON, tensors and archives, each a small whole one."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from data.synthetic import synthetic_jpeg
from models.preprocessing import IMAGE_SIZE
from serve_app.open_inference.messages import message
from serve_app.open_inference.tensors import pack_bytes
from tests.data.archives import zipped
from tests.serve_app.forms import FORM, file, form

_MANIFEST = b"file,label,lesion_id,label_source\na.jpg,mel,L1,expert\nb.jpg,,,\n"
_LABELS = b'{"a.jpg": "mel", "b.jpg": {"label": "nv", "lesion_id": "L2", "label_source": "user"}}'


@cache
def _jpeg() -> bytes:
    return synthetic_jpeg("nv", seed=1, width=48, height=40)


def headed(header: str, body: bytes) -> bytes:
    """A body behind one header of its request, which a mutation may change as well."""
    return header.encode() + b"\n" + body


def unheaded(data: bytes) -> tuple[str, bytes]:
    """The header, as a server reads it, and the body."""
    header, _, body = data.partition(b"\n")
    return header.decode("latin-1"), body


def forms() -> dict[str, bytes]:
    """Forms of images, behind their content type."""
    images = [file(_jpeg(), "files", "a.jpg"), file(b"", "files", "b.jpg")]
    whole = {
        "one": form(file(_jpeg())),
        "several": form(*images),
        "none": form(),
        "fields": form(*images, ('name="labels"', b"mel"), ('name="labels"', b"")),
        "json": form(*images, ('name="labels"', _LABELS)),
        "manifest": form(*images, ('name="manifest"; filename="m.csv"', _MANIFEST)),
        "text": form(*images, ('name="manifest"', _MANIFEST), ('name="uploader"', b"me")),
        "terms": form(*images, ('name="lesion_id"', b"L1"), ('name="label_source"', b"expert")),
        "names": form(file(b"x", "files", "../\\u0000\r\n%00é"), file(b"x", "file", "a" * 300)),
        "cut off": form(*images)[:-40],
    }
    found = {name: headed(FORM["content-type"], body) for name, body in whole.items()}
    found["raw"] = headed("image/jpeg", _jpeg())
    found["codec"] = headed(FORM["content-type"] + "; charset=utf-7", whole["fields"])
    return found


def manifests() -> dict[str, bytes]:
    return {
        "whole": _MANIFEST,
        "short": b"file,label\na.jpg,mel\n",
        "quoted": b'file,label\r\n"a,""b"".jpg","mel"\r\n',
        "marked": b"\xef\xbb\xbf" + _MANIFEST,
        "open quote": b'file,label\n"a.jpg,mel\n',
        "nothing": b"",
    }


def label_maps() -> dict[str, bytes]:
    return {
        "whole": _LABELS,
        "nulls": b'{"a.jpg": null, "b.jpg": {}}',
        "twice": b'{"a.jpg": "mel", "a.jpg": "nv"}',
        "strange": b'{"a.jpg": [1e999, -0, "\\ud800"], "b": {"label": {"label": 1}}}',
        "deep": b'{"a":' * 50 + b"1" + b"}" * 50,
    }


def small_json() -> dict[str, bytes]:
    """Bodies of the routes that take a little JSON."""
    return {
        "change": b'{"label": "mel", "label_source": "expert", "lesion_id": "L1"}',
        "nulls": b'{"label": null, "lesion_id": null}',
        "index": b'{"ready": true}',
        "load": b'{"parameters": {"version": "1", "force": true}}',
        "retrain": b'{"mode": "head", "reason": "because"}',
    }


def _request(name: str, datatype: str, shape: list[int], **rest: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **rest}


@cache
def inferences() -> dict[str, bytes]:
    """Bodies of `/v2/models/{m}/infer`, behind the header that says how much of it is JSON."""
    text = base64.b64encode(_jpeg()).decode()
    found = {}
    for name, asked in {
        "base64": _request("IMAGE", "BYTES", [1], data=[text]),
        "nested": _request("IMAGE", "BYTES", [2, 1], data=[[text], [""]]),
        "few numbers": _request("PIXELS", "UINT8", [1, 2, 2, 3], data=[[[0, 1.5, 256]] * 2] * 2),
        "numbers": _request("PIXELS", "FP32", [1, 224, 224, 3], data=[0.5] * 500),
    }.items():
        whole = {"id": "é", "inputs": [asked], "parameters": {"priority": 1, "timeout": 9}}
        whole["outputs"] = [{"name": "CONFIDENCE", "parameters": {"binary_data": True}}]
        found[name] = headed("", json.dumps(whole).encode())
    packed = pack_bytes([_jpeg(), b""])
    size = {"binary_data_size": len(packed)}
    whole = {"inputs": [_request("IMAGE", "BYTES", [2], parameters=size)]}
    text = json.dumps(whole)
    found["binary"] = headed(str(len(text)), text.encode() + packed)
    size = {"binary_data_size": IMAGE_SIZE**2 * 3}
    whole = {"inputs": [_request("PIXELS", "UINT8", [1, 224, 224, 3], parameters=size)]}
    text = json.dumps(whole)
    found["binary pixels"] = headed(str(len(text)), text.encode() + bytes(IMAGE_SIZE**2 * 3))
    return found


@cache
def calls() -> dict[str, bytes]:
    """`ModelInferRequest` as gRPC carries it."""
    image = {"name": "IMAGE", "datatype": "BYTES", "shape": [1]}
    text = base64.b64encode(_jpeg()).decode()
    raw = base64.b64encode(pack_bytes([_jpeg()])).decode()
    common = {"model_name": "dermserve", "id": "1", "parameters": {"priority": {"int64_param": 1}}}
    requests = {
        "raw": {**common, "inputs": [image], "raw_input_contents": [raw]},
        "typed": {**common, "inputs": [{**image, "contents": {"bytes_contents": [text]}}]},
        "pixels": {
            "inputs": [
                _request("PIXELS", "UINT8", [1, 1], contents={"uint_contents": [1, 2, 2**32 - 1]})
            ],
            "outputs": [{"name": "CONFIDENCE", "parameters": {"x": {"bool_param": True}}}],
        },
    }
    return {
        name: message("ModelInferRequest", content).SerializeToString()
        for name, content in requests.items()
    }


def archives() -> dict[str, bytes]:
    """Zip files, of which the importing of HAM10000 unpacks images and a table."""
    inner = zipped({"HAM10000_images/a.jpg": _jpeg(), "HAM10000_metadata.csv": b"image_id\n"})
    return {
        "whole": zipped({"HAM10000_images_part_1/a.jpg": _jpeg(), "notes.txt": b"x"}),
        "archive in archive": zipped({"HAM10000_images_part_1.zip": inner}),
        "paths": zipped({"../../a.jpg": b"x", "/etc/b.jpg": b"x", "c\\..\\d.jpg": b"x"}),
        "bomb": zipped({f"{index}.jpg": bytes(2**20) for index in range(24)}),
        "bombs in archive": zipped({f"{index}.zip": inner for index in range(30)}),
        "folder": zipped({"a/": b"", "a/b.jpg": _jpeg()}),
    }
