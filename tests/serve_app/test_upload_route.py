"""`POST /upload/bulk`: a verdict for each file, and nothing stored of what cannot be right."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from data.catalogue.database import Database
from data.catalogue.uploads import Upload, Uploads
from data.frozen import FrozenSplit
from data.image_store import ImageStore
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.errors import ModelUnavailable, TrainerUnavailable
from models.preprocessing import decode_image
from serve_app import upload_schemas as schemas
from serve_app.message import Message
from serve_app.settings import ServeSettings
from serve_app.upload_schemas import UploadAnswer
from tests.models.images import encode
from tests.serve_app.chain import InProcessChain
from tests.serve_app.forms import END, FORM, Part, chunks, error_of, file, form
from tests.serve_app.trainer import THRESHOLD, InProcessTrainer

IMAGES = {code: synthetic_jpeg(code, seed=1, width=120, height=90) for code in CLASSES}
NV, MEL = IMAGES["nv"], IMAGES["mel"]
NAMES = [f"{code}.jpg" for code in CLASSES]
ALL = [file(image, "files", f"{code}.jpg") for code, image in IMAGES.items()]


def text(name: str, value: str) -> Part:
    return f'name="{name}"', value.encode()


def sent(*parts: Part) -> dict[str, Any]:
    return {"content": form(*parts), "headers": FORM}


def answer(response: httpx.Response) -> UploadAnswer:
    """An answer that must be good, checked against itself."""
    assert response.status_code == 200, response.text
    found = schemas.UploadAnswer.model_validate_json(response.content)
    verdicts = [result.verdict for result in found.results]
    assert [result.index for result in found.results] == list(range(len(verdicts)))
    assert found.counts.model_dump() == {
        name: verdicts.count(name) for name in schemas.Counts.model_fields
    }
    for result in found.results:
        assert (result.id is not None) == (result.verdict in ("accepted", "needs_label"))
        assert (result.duplicate_of is not None) == (result.verdict == "duplicate")
        assert (result.reason is None) == (result.id is not None)
    return found


def verdicts(found: UploadAnswer) -> list[str]:
    return [result.verdict for result in found.results]


def stored(database: Database) -> tuple[Upload, ...]:
    return Uploads(database).page(order="oldest").items


async def test_labelled_images_are_accepted_and_stored(
    api: httpx.AsyncClient, database: Database
) -> None:
    labels = [text("labels", code) for code in CLASSES]
    found = answer(await api.post("/upload/bulk", **sent(*ALL, *labels)))
    assert verdicts(found) == ["accepted"] * 7
    assert [result.filename for result in found.results] == NAMES
    uploads = stored(database)
    assert [upload.id for upload in uploads] == [result.id for result in found.results]
    for upload, (code, image) in zip(uploads, IMAGES.items(), strict=True):
        assert (upload.label, upload.label_source) == (code, "user")
        assert (upload.width, upload.height) == (120, 90)
        kept = ImageStore().get(upload.image_key)
        assert (decode_image(kept) == decode_image(image)).all()


async def test_it_says_what_is_missing_until_retraining(
    api: httpx.AsyncClient, trainer: InProcessTrainer
) -> None:
    found = answer(await api.post("/upload/bulk", **sent(ALL[0], text("labels", "akiec"))))
    assert found.retraining is not None
    assert found.retraining.model_dump(exclude={"missing_by_class", "quiet_until"}) == {
        "new_images": 1,
        "threshold": THRESHOLD,
        "missing": THRESHOLD - 1,
    }
    trainer.error = TrainerUnavailable("The trainer does not answer.")
    found = answer(await api.post("/upload/bulk", **sent(ALL[1], text("labels", "bcc"))))
    assert (verdicts(found), found.retraining) == (["accepted"], None)


async def test_the_model_says_how_uncertain_it_is(
    api: httpx.AsyncClient, database: Database
) -> None:
    answer(await api.post("/upload/bulk", **sent(*ALL)))
    predicted = (await api.post("/predict", content=MEL)).json()
    for upload in stored(database):
        assert upload.prediction is not None
        assert sum(upload.prediction.probabilities.values()) == pytest.approx(1)
        assert 0 < upload.prediction.uncertainty < 1
    prediction = stored(database)[CLASSES.index("mel")].prediction
    assert prediction is not None
    assert prediction.probabilities == pytest.approx(predicted["probabilities"], abs=1e-6)
    assert prediction.model_version == predicted["model_version"]


async def test_without_a_model_an_upload_is_stored_all_the_same(
    api: httpx.AsyncClient,
    chain: InProcessChain,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unavailable(message: Message) -> list[ModelUnavailable]:
        return [ModelUnavailable("No model is loaded.")] * len(message.sizes)

    async def broken(message: Message) -> None:
        raise RuntimeError

    for receive, part in ((unavailable, ALL[0]), (broken, ALL[1])):
        monkeypatch.setattr(chain.preprocessor, "receive", receive)
        found = answer(await api.post("/upload/bulk", **sent(part)))
        assert verdicts(found) == ["needs_label"]
    assert [upload.prediction for upload in stored(database)] == [None, None]


LABELS: dict[str, list[Part]] = {
    "fields": [text("labels", "mel"), text("labels", ""), text("labels", "nv")],
    "map": [text("labels", json.dumps({"c.jpg": "nv", "a.jpg": {"label": "mel"}}))],
    "manifest": [file(b"file,label\nc.jpg,nv\na.jpg,mel\n", "manifest", "labels.csv")],
    "manifest as text": [text("manifest", "file,label\na.jpg,mel\nc.jpg,nv\n")],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("first", [True, False], ids=["labels first", "files first"])
async def test_labels_arrive_in_every_form(
    api: httpx.AsyncClient, database: Database, labels: list[Part], first: bool
) -> None:
    files = [
        file(image, "files", name)
        for image, name in zip(list(IMAGES.values())[:3], ("a.jpg", "b.jpg", "c.jpg"), strict=True)
    ]
    parts = [*labels, *files] if first else [*files, *labels]
    found = answer(await api.post("/upload/bulk", **sent(*parts)))
    assert verdicts(found) == ["accepted", "needs_label", "accepted"]
    assert [upload.label for upload in stored(database)] == ["mel", None, "nv"]


async def test_what_is_said_of_all_files(api: httpx.AsyncClient, database: Database) -> None:
    common = [
        text("label_source", "histopathology"),
        text("uploader", "Dr. Müller"),
        text("lesion_id", "L1"),
        text("labels", json.dumps({"mel.jpg": "mel", "nv.jpg": {"label": "nv", "lesion_id": "2"}})),
    ]
    answer(await api.post("/upload/bulk", **sent(*ALL, *common)))
    kept = {
        upload.label: (upload.label_source, upload.lesion_id, upload.uploader)
        for upload in stored(database)
    }
    assert kept == {
        "mel": ("histopathology", "L1", "Dr. Müller"),
        "nv": ("histopathology", "2", "Dr. Müller"),
        None: (None, "L1", "Dr. Müller"),
    }


MISMATCHES: dict[str, tuple[list[Part], str]] = {
    "too few": ([text("labels", "mel")] * 6, "labels_mismatch"),
    "too many": ([text("labels", "mel")] * 8, "labels_mismatch"),
    "one for seven": ([text("labels", "mel")], "labels_mismatch"),
    "a name that was not sent": ([text("labels", '{"x.jpg": "mel"}')], "labels_mismatch"),
    "a name twice": ([text("labels", '{"nv.jpg": "nv", "nv.jpg": "mel"}')], "labels_mismatch"),
    "two files of one name": (
        [file(NV, "files", "nv.jpg"), text("labels", '{"nv.jpg": "nv"}')],
        "labels_mismatch",
    ),
    "a manifest with a name that was not sent": (
        [file(b"file,label\nx.jpg,mel", "manifest", "m.csv")],
        "labels_mismatch",
    ),
    "labels and a manifest": (
        [*[text("labels", "mel")] * 7, file(b"file,label\nnv.jpg,nv", "manifest", "m.csv")],
        "labels_mismatch",
    ),
    "two manifests": ([file(b"file,label\n", "manifest", "m.csv")] * 2, "labels_mismatch"),
    "no JSON": ([text("labels", "{nv.jpg: nv}")], "invalid_field"),
    "no CSV": ([file(NV, "manifest", "m.csv")], "invalid_field"),
    "a misspelt field": ([text("label", "mel")], "invalid_field"),
    "files in another field": ([file(NV, "file", "x.jpg")], "invalid_field"),
    "an unknown source": ([text("label_source", "guess")], "invalid_field"),
    "two sources": ([text("label_source", "user")] * 2, "invalid_field"),
    "a file for a text": ([file(b"me", "uploader", "me.txt")], "invalid_field"),
    "an endless uploader": ([text("uploader", "x" * 129)], "invalid_field"),
    "an uploader with a line break": ([text("uploader", "a\nb")], "invalid_field"),
}


@pytest.mark.parametrize(("parts", "code"), MISMATCHES.values(), ids=MISMATCHES)
async def test_what_does_not_match_stores_nothing(
    api: httpx.AsyncClient, database: Database, storage: Path, parts: list[Part], code: str
) -> None:
    response = await api.post("/upload/bulk", **sent(*ALL, *parts))
    error_of(response, 422, code)
    assert stored(database) == ()
    assert not (storage / "images").exists()


async def test_a_wrong_label_rejects_its_file_alone(
    api: httpx.AsyncClient, database: Database
) -> None:
    labels = {"mel.jpg": "melanoma", "nv.jpg": {"label": "nv", "label_source": "guess"}}
    found = answer(
        await api.post(
            "/upload/bulk", **sent(*ALL, text("labels", json.dumps(labels | {"df.jpg": "df"})))
        )
    )
    by_name = {result.filename: result for result in found.results}
    assert by_name["mel.jpg"].verdict == by_name["nv.jpg"].verdict == "rejected"
    assert "melanoma" in (by_name["mel.jpg"].reason or "")
    assert "guess" in (by_name["nv.jpg"].reason or "")
    assert by_name["df.jpg"].verdict == "accepted"
    assert found.counts.needs_label == 4
    assert len(stored(database)) == 5


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", bytes(50_000_000))
    return buffer.getvalue()


BAD_FILES = {
    "empty": (b"", "empty"),
    "text": (b"lesion", "no image in a supported format"),
    "half": (NV[: len(NV) // 2], "damaged or incomplete"),
    "one pixel": (encode(Image.new("L", (1, 1)), "PNG"), "at least 16"),
    "too many bytes": (NV + bytes(200_000), "larger than 0.191 MiB"),
    "zip bomb": (_zip(), "not unpacked"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_bad_file_is_rejected_alone(
    api: httpx.AsyncClient, database: Database, bad: bytes, reason: str, place: int
) -> None:
    parts = [ALL[0], ALL[1]]
    parts.insert(place, file(bad, "files", "bad.jpg"))
    found = answer(await api.post("/upload/bulk", **sent(*parts)))
    expected = ["needs_label", "needs_label"]
    expected.insert(place, "rejected")
    assert verdicts(found) == expected
    assert reason in (found.results[place].reason or "")
    assert len(stored(database)) == 2


async def test_the_same_file_ten_times(
    api: httpx.AsyncClient, database: Database, storage: Path
) -> None:
    """In one request, over several chunks, and again in the next request."""
    parts = [file(NV, "files", f"{number}.jpg") for number in range(10)]
    found = answer(await api.post("/upload/bulk", **sent(*parts)))
    assert verdicts(found) == ["needs_label", *["duplicate"] * 9]
    first = found.results[0].id
    assert {result.duplicate_of for result in found.results[1:]} == {first}
    again = answer(await api.post("/upload/bulk", **sent(*parts, text("label_source", "user"))))
    assert verdicts(again) == ["duplicate"] * 10
    assert f"PATCH /uploads/{first}" in (again.results[0].reason or "")
    assert len(stored(database)) == 1
    assert len(list((storage / "images").rglob("*.*"))) == 1


async def test_the_same_picture_in_other_bytes_leaves_no_file(
    api: httpx.AsyncClient, storage: Path
) -> None:
    with Image.open(io.BytesIO(NV)) as image:
        forms = [encode(image, "PNG"), encode(image.resize((240, 180)), "JPEG", quality=80)]
    first = answer(await api.post("/upload/bulk", **sent(file(NV, "files"))))
    again = answer(await api.post("/upload/bulk", **sent(*[file(f, "files") for f in forms])))
    assert verdicts(again) == ["duplicate", "duplicate"]
    assert {result.duplicate_of for result in again.results} == {first.results[0].id}
    assert len(list((storage / "images").rglob("*.*"))) == 1


async def test_metadata_are_not_kept(api: httpx.AsyncClient, database: Database) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Patient Erika Mustermann"
    with Image.open(io.BytesIO(NV)) as image:
        telling = encode(image, "JPEG", exif=exif, quality=95)
    assert b"Mustermann" in telling
    answer(await api.post("/upload/bulk", **sent(file(telling, "files", "Mustermann.jpg"))))
    (upload,) = stored(database)
    kept = ImageStore().get(upload.image_key)
    assert (decode_image(kept) == decode_image(telling)).all()
    assert b"Mustermann" not in kept
    assert "Mustermann" not in upload.image_key


async def test_a_lesion_that_models_are_judged_by(
    api: httpx.AsyncClient, database: Database, storage: Path
) -> None:
    parts = FrozenSplit.load().lesions
    for part in ("test", "validation"):
        lesion = next(name for name, where in parts.items() if where == part)
        fields = [text("lesion_id", lesion.lower()), text("labels", "nv")]
        found = answer(await api.post("/upload/bulk", **sent(file(NV, "files"), *fields)))
        assert verdicts(found) == ["test_image"]
        assert lesion in (found.results[0].reason or "")
    assert stored(database) == ()
    assert not (storage / "images").exists()


async def test_real_images_that_the_project_knows(
    api: httpx.AsyncClient, ham10000_samples: list[Path], settings: ServeSettings
) -> None:
    small = [p for p in ham10000_samples if p.stat().st_size <= settings.max_image_bytes][:16]
    parts = [file(path.read_bytes(), "files", path.name) for path in small]
    found = answer(await api.post("/upload/bulk", **sent(*parts)))
    assert set(verdicts(found)) <= {"duplicate", "test_image"}
    for result in found.results:
        image_id = result.filename.removesuffix(".jpg")
        assert image_id in (result.duplicate_of or "") + (result.reason or "")


BAD_FORMS: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing": ({}, 400, "malformed_request"),
    "no form": ({"content": NV}, 400, "malformed_request"),
    "json": ({"json": {"files": []}}, 400, "malformed_request"),
    "no files": (sent(text("labels", "mel")), 400, "missing_file"),
    "another field": (sent(file(NV, "file")), 400, "missing_file"),
    "text for a file": (sent(text("files", "a.jpg")), 422, "invalid_field"),
    "seventeen files": (sent(*[file(b"x", "files")] * 17), 413, "too_many_files"),
    "5,000 files": (
        sent(*[file(b"x", "files", f"{number}.jpg") for number in range(5000)]),
        413,
        "too_many_files",
    ),
    "5,000 labels": (
        sent(file(NV, "files"), *[text("labels", "mel")] * 5000),
        400,
        "malformed_request",
    ),
    "an endless label": (
        sent(file(NV, "files"), text("labels", "x" * 1_100_000)),
        400,
        "malformed_request",
    ),
    "an endless manifest": (
        sent(file(NV, "files"), file(bytes(1_100_000), "manifest", "m.csv")),
        413,
        "body_too_large",
    ),
    "three long labels": (
        sent(file(NV, "files"), *[text("labels", "x" * 700_000)] * 3),
        413,
        "body_too_large",
    ),
    "too many bytes": (
        sent(*[file(bytes(199_000), "files", f"{number}.jpg") for number in range(11)]),
        413,
        "body_too_large",
    ),
    "cut off in a file": (
        {"content": form(ALL[0], ALL[1])[: -len(END) - 500], "headers": FORM},
        400,
        "malformed_request",
    ),
    "cut off between files": (
        {"content": form(ALL[0])[: -len(END)], "headers": FORM},
        400,
        "malformed_request",
    ),
    "cut off in a label": (
        {"content": form(ALL[0], text("labels", "mel"))[: -len(END) - 3], "headers": FORM},
        400,
        "malformed_request",
    ),
}


@pytest.mark.parametrize(("request_", "status", "code"), BAD_FORMS.values(), ids=BAD_FORMS)
async def test_a_bad_form_stores_nothing(
    api: httpx.AsyncClient,
    database: Database,
    storage: Path,
    request_: dict[str, Any],
    status: int,
    code: str,
) -> None:
    error_of(await api.post("/upload/bulk", **request_), status, code)
    assert stored(database) == ()
    assert not (storage / "images").exists()


async def test_an_announced_body_is_refused_before_it_is_read(api: httpx.AsyncClient) -> None:
    read = []

    def parts() -> Iterator[bytes]:
        read.append(1)
        yield NV

    headers = {**FORM, "content-length": str(10**10)}
    response = await api.post("/upload/bulk", content=chunks(parts()), headers=headers)
    error_of(response, 413, "body_too_large")
    assert not read


@pytest.mark.parametrize(
    "charset",
    ["latin-1", "undefined", "idna", "punycode", "utf-7", "utf-16", "unicode_escape", "rot13"],
)
async def test_a_form_is_in_utf_8_whatever_it_says(
    api: httpx.AsyncClient, database: Database, charset: str
) -> None:
    headers = {"content-type": f"{FORM['content-type']}; charset={charset}"}
    parts = [file(NV, "files", "läsion.jpg"), text("uploader", "Dr. Müller")]
    found = answer(await api.post("/upload/bulk", content=form(*parts), headers=headers))
    assert [result.filename for result in found.results] == ["läsion.jpg"]
    assert [upload.uploader for upload in stored(database)] == ["Dr. Müller"]


async def test_a_charset_that_decodes_for_minutes_holds_up_nobody(api: httpx.AsyncClient) -> None:
    """Python's punycode takes time that grows with the square of the text."""
    headers = {"content-type": f"{FORM['content-type']}; charset=punycode"}
    labels = form(file(NV, "files"), text("labels", f"{'b' * 500_000}-{'a' * 500_000}"))
    response = await asyncio.wait_for(
        api.post("/upload/bulk", content=labels, headers=headers), timeout=30
    )
    assert verdicts(answer(response)) == ["rejected"]


@pytest.mark.parametrize(
    "part",
    [
        text("labels", '{"a.jpg": "\\ud800"}'),
        text("labels", '{"a.jpg": {"label": "nv", "lesion_id": "\\ud800"}}'),
        text("labels", '{"a.jpg": {"label": "nv", "label_source": "\\udfff"}}'),
        text("labels", '{"\\ud800.jpg": "nv"}'),
        text("labels", '{"a.jpg": {"\\ud800": "nv"}}'),
        text("labels", '{"\\ud800": 1}'),
        ('name="manifest"', b"file,label\n\xed\xa0\x80,nv\n"),
        ('name="uploader"', b"\xed\xa0\x80"),
        ('name="\udcff"'.encode("utf-8", "surrogatepass").decode("latin-1"), b"x"),
    ],
    ids=range(9),
)
async def test_what_utf_8_cannot_hold_is_answered(
    api: httpx.AsyncClient, database: Database, part: Part
) -> None:
    response = await api.post("/upload/bulk", **sent(file(NV, "files", "a.jpg"), part))
    if response.status_code == 200:
        assert verdicts(answer(response)) == ["rejected"]
    else:
        assert response.status_code == 422
    assert stored(database) == ()


async def test_names_are_echoed_and_never_used(
    api: httpx.AsyncClient, storage: Path, database: Database
) -> None:
    names = ["../../etc/passwd", "läsion.jpg", "", "; rm -rf *.jpg"]
    images = list(IMAGES.values())[:4]
    parts = [file(image, "files", name) for image, name in zip(images, names, strict=True)]
    found = answer(await api.post("/upload/bulk", **sent(*parts)))
    assert [result.filename for result in found.results] == names
    assert verdicts(found) == ["needs_label"] * 4
    files = {path.name for path in (storage / "images").rglob("*.*")}
    assert files == {f"{upload.content_hash}.jpg" for upload in stored(database)}
