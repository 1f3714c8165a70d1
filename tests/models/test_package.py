"""A model package is whole and unaltered, or it is refused with the file that is to blame."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.classes import CLASSES
from models.errors import InvalidPackage
from models.package import (
    INT8_GRAPH_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
    REPLAY_FILE,
    ModelPackage,
    sha256_of,
)
from tests.models.packages import PACKAGE_FILES


@pytest.fixture
def folder(tiny_package: ModelPackage, tmp_path: Path) -> Path:
    """A package that a test may damage."""
    return shutil.copytree(tiny_package.folder, tmp_path / "package")


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest."""
    path = folder / MANIFEST_FILE
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _refusal(folder: Path) -> str:
    with pytest.raises(InvalidPackage) as refusal:
        ModelPackage.load(folder)
    return refusal.value.message


def test_a_package_loads(tiny_package: ModelPackage) -> None:
    assert ModelPackage.load(tiny_package.folder).manifest == tiny_package.manifest


def test_a_copy_loads_wherever_it_lies(folder: Path) -> None:
    package = ModelPackage.load(folder)
    assert set(package.manifest.files) == set(PACKAGE_FILES)
    assert package.manifest.classes == CLASSES
    for name in PACKAGE_FILES:
        assert package.file(name) == folder / name
        assert package.manifest.files[name] == sha256_of(folder / name)


def test_the_bundled_champion_is_whole(champion: ModelPackage) -> None:
    # Champion 2 is older than references.
    assert set(champion.manifest.files) >= {*PACKAGE_FILES} - {REFERENCE_FILE}
    shipped = champion.manifest.metrics["int8"]["shipped"]  # type: ignore[index]
    assert (INT8_GRAPH_FILE in champion) is shipped
    assert champion.file(REPLAY_FILE).stat().st_size <= 20_000_000
    assert champion.manifest.licence
    assert champion.manifest.citation


def test_an_unlisted_file_is_no_part_of_it(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InvalidPackage, match=r"has no notes\.txt"):
        ModelPackage.load(folder).file("notes.txt")


def test_a_missing_folder(tmp_path: Path) -> None:
    message = _refusal(tmp_path / "absent")
    assert str(tmp_path / "absent") in message
    assert "dermserve train" in message


def test_a_folder_without_a_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    assert MANIFEST_FILE in _refusal(folder)


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert _refusal(folder) == f"{folder / name} is missing."


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_folder_in_a_files_place(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert _refusal(folder) == f"{folder / name} is missing."


@pytest.mark.parametrize("name", PACKAGE_FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_an_altered_byte(folder: Path, name: str, place: float) -> None:
    data = bytearray((folder / name).read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    (folder / name).write_bytes(data)
    assert f"{folder / name} is altered or damaged" in _refusal(folder)


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_file_cut_short_or_with_something_behind(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for altered in (data[:-1], data + b"\n", b""):
        (folder / name).write_bytes(altered)
        assert f"{folder / name} is altered or damaged" in _refusal(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"format": 2}', b"{" * 5000], ids=repr
)
def test_a_broken_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)
    assert f"{folder / MANIFEST_FILE} is no valid manifest" in _refusal(folder)


@pytest.mark.parametrize(
    "classes",
    [CLASSES[:-1], (*CLASSES, "wart"), tuple(reversed(CLASSES)), ()],
    ids=["one less", "one more", "another order", "none"],
)
def test_other_classes(folder: Path, classes: tuple[str, ...]) -> None:
    _edit(folder, lambda manifest: manifest.update(classes=classes))
    message = _refusal(folder)
    assert str(folder) in message
    assert "this server serves akiec, bcc, bkl, df, mel, nv, vasc" in message


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown": lambda manifest: manifest.update(pickle="weights.pkl"),
    "decision.unknown": lambda manifest: manifest["decision"].update(unknown=1),
    "format": lambda manifest: manifest.update(format=1),
    "architecture": lambda manifest: manifest.update(architecture="resnet50"),
    "input.height": lambda manifest: manifest["input"].update(height=299),
    "input.dtype": lambda manifest: manifest["input"].update(dtype="float32"),
    "version": lambda manifest: manifest.update(version="../../etc"),
    "decision.temperature": lambda manifest: manifest["decision"].update(temperature=0),
    "temperature": lambda manifest: manifest["decision"].update(temperature=math.inf),
    "logit_shift": lambda manifest: manifest["decision"].update(logit_shift=[0.0] * 6),
    "decision.logit_shift": lambda manifest: manifest["decision"].update(
        logit_shift=[math.nan] * 7
    ),
    "novelty_threshold": lambda manifest: manifest["decision"].update(novelty_threshold=math.nan),
    "threshold": lambda manifest: manifest["decision"]["malignant"].update(threshold=1.5),
    "max_prediction_set": lambda manifest: manifest["decision"].update(max_prediction_set=0),
    "split": lambda manifest: manifest.pop("split"),
    "files": lambda manifest: manifest.update(files=["weights.safetensors"]),
    "dataset_hash": lambda manifest: manifest.update(dataset_hash=None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_manifest_that_breaks_a_rule(
    folder: Path, change: Callable[[dict[str, Any]], object], request: pytest.FixtureRequest
) -> None:
    _edit(folder, change)
    message = _refusal(folder)
    assert f"{folder / MANIFEST_FILE} is no valid manifest" in message
    field = request.node.callspec.id.split(".")[-1]
    assert field == "unknown" or field in message


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub/file", "..", ".", "", "a/../../b", "./card.md"]
)
def test_no_file_outside_the_folder_is_read(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("x")
    _edit(folder, lambda manifest: manifest["files"].update({name: "0" * 64}))
    message = _refusal(folder)
    assert "altered" not in message  # it would mean that the file was read
    assert str(folder) in message
