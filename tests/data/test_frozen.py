"""The frozen split: whole, in three parts, and refused when a byte of it changes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from data.frozen import NAME, VERSION, FrozenSplit, lesion_table
from models.classes import CLASSES
from models.errors import InvalidDataset
from tests.conftest import PROJECT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for suffix in ("csv", "json"):
        shutil.copy(PROJECT / "data" / f"{NAME}.{suffix}", tmp_path)
    return tmp_path


def test_every_lesion_of_ham10000_is_named_once() -> None:
    frozen = FrozenSplit.load()
    assert frozen.version == VERSION == "ham10000-v1"
    assert len(frozen.lesions) == 7470
    assert Counter(frozen.lesions.values()) == frozen.lesion_counts
    assert sum(sum(part.values()) for part in frozen.images.values()) == 10_015
    assert all(set(part) == set(CLASSES) for part in frozen.images.values())


def test_merged_lesions_are_in_one_part() -> None:
    frozen = FrozenSplit.load()
    assert frozen.merged == (("HAM_0004919", "HAM_0000140"),)
    for group in frozen.merged:
        assert len({frozen.lesions[lesion] for lesion in group}) == 1


def test_it_is_read_once() -> None:
    assert FrozenSplit.load() is FrozenSplit.load()


def test_the_table_is_sorted_text() -> None:
    assert lesion_table({"b": "test", "a": "train"}) == b"lesion_id,split\na,train\nb,test\n"


def test_what_is_written_is_read(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    frozen = FrozenSplit.load(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    frozen.write(elsewhere)
    assert FrozenSplit.load(elsewhere) == frozen


def test_a_lesion_moved_to_training_is_noticed(folder: Path) -> None:
    table = folder / f"{NAME}.csv"
    table.write_text(table.read_text().replace(",test", ",train", 1))
    with pytest.raises(InvalidDataset, match="is altered"):
        FrozenSplit.load(folder)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("csv", b"lesion_id,part\nHAM_0000000,train\n"),
        ("csv", b"lesion_id,split\nHAM_0000000,holdout\n"),
        ("csv", b"lesion_id,split\nHAM_0000000\n"),
        ("csv", b"\xff\xfe"),
        ("json", b"{"),
        ("json", b"[]"),
        ("json", json.dumps({"version": "1"}).encode()),
        ("json", None),
    ],
)
def test_broken_files_are_refused_in_a_sentence(
    folder: Path, suffix: str, content: bytes | None
) -> None:
    path = folder / f"{NAME}.{suffix}"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidDataset, match="cannot be read"):
        FrozenSplit.load(folder)
