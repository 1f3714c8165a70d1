"""`dermserve import-ham10000`: a table of what was found, or one sentence of what is wrong."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app, main
from data import download
from data.ham10000 import Ham10000, load_ham10000
from data.splits import frozen_split
from models.classes import CLASSES
from tests.conftest import SHARED_HAM10000, free_port
from tests.data.archives import dataverse, files
from tests.data.repository import Repository


def _invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(
        app, ["import-ham10000", *map(str, arguments)], env={"COLUMNS": "120"}
    )


def _rows(result: Result) -> dict[str, list[str]]:
    """The table's cells, by class code."""
    lines = [line.replace("│", " ").split() for line in result.output.splitlines()]
    return {line[0]: line[1:] for line in lines if line and line[0] in (*CLASSES, "all")}


def _error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[object, str]:
    """Exit status and standard error of the command as a user runs it."""
    monkeypatch.setattr(sys, "argv", ["dermserve", "import-ham10000", *map(str, arguments)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # Typer replaces it
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err


def test_help_shows_an_example_and_every_option() -> None:
    result = _invoke("--help")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    example = "dermserve import-ham10000 ~/Downloads/dataverse_files --output var/ham10000"
    assert f"Example: {example}" in text
    for name in ("--output", "--link", "SOURCE"):
        assert name in text


def test_a_table_tells_what_was_imported(synthetic_dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "made [new]"  # Rich would read the brackets as a style
    result = _invoke(synthetic_dataset, "--output", output)
    assert result.exit_code == 0, result.output
    dataset = load_ham10000(output)
    split = frozen_split(dataset.images)
    rows = _rows(result)
    for code in CLASSES:
        images = [image for image in dataset.images if image.diagnosis == code]
        lesions = {image.lesion_id for image in images}
        parts = [
            sum(image.diagnosis == code for image in part)
            for part in (split.train, split.validation, split.test)
        ]
        assert rows[code] == [str(count) for count in (len(images), len(lesions), *parts)]
    assert rows["all"][0] == str(len(dataset.images))
    assert f"dataset hash: {dataset.hash}" in result.output
    assert f"split of seed 7: {split.hash}" in result.output
    assert f"{len(dataset.images)} images are in {output}." in result.output


def test_problems_are_shown_with_their_count(synthetic_dataset: Path, tmp_path: Path) -> None:
    dataset = shutil.copytree(synthetic_dataset, tmp_path / "dataset")
    images = load_ham10000(dataset).images
    for image in images[:7]:
        image.path.unlink()
    images[7].path.write_bytes(b"")
    with (dataset / "HAM10000_metadata.csv").open("a") as file:
        file.write("L1,SYN_X,wart,histo,45.0,male,trunk\n")
    shutil.copy(images[8].path, images[-1].path)
    result = _invoke(dataset, "--output", tmp_path / "made")
    assert result.exit_code == 0, result.output
    shown = "; ".join(image.image_id for image in images[:5])
    assert f"missing: 7: {shown} and 2 more" in result.output
    assert f"unreadable: 1: {images[7].image_id} The image has no bytes." in result.output
    assert "unknown label: 1: SYN_X 'wart'" in result.output
    lesions = f"{images[8].lesion_id}, {images[-1].lesion_id}"
    assert f"one picture under several lesion ids: {lesions}" in result.output


def test_too_few_lesions_are_told(synthetic_dataset: Path, tmp_path: Path) -> None:
    dataset = shutil.copytree(synthetic_dataset, tmp_path / "dataset")
    for image in load_ham10000(dataset).images:
        if image.diagnosis == "df":
            image.path.unlink()
    result = _invoke(dataset, "--output", tmp_path / "made", "--link")
    assert result.exit_code == 0, result.output
    assert "no split: No lesion of df is in the train split." in result.output
    assert _rows(result)["df"] == ["0", "0"]


def test_without_a_source_it_is_downloaded(
    synthetic_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Repository(dataverse(synthetic_dataset)) as repository:
        monkeypatch.setitem(download.download_ham10000.__kwdefaults__, "server", repository.url)
        result = _invoke("--output", tmp_path / "made")
    assert result.exit_code == 0, result.output
    assert load_ham10000(tmp_path / "made").hash == load_ham10000(synthetic_dataset).hash
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_without_a_network_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setitem(download.download_ham10000.__kwdefaults__, "server", nobody)
    code, said = _error(monkeypatch, capsys, "--output", tmp_path / "made")
    assert code == 1
    assert said.startswith(f"Error: {nobody} does not list HAM10000:")
    assert "by hand from https://doi.org/10.7910/DVN/DBW86T" in said
    assert len(said.splitlines()) == 1
    assert files(tmp_path) == []


def test_nothing_usable_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    code, said = _error(monkeypatch, capsys, source, "--output", tmp_path / "made")
    assert code == 1
    assert said.startswith(f"Error: There is no HAM10000_metadata.csv in {source}. Name the")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_a_taken_output_is_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setitem(download.download_ham10000.__kwdefaults__, "server", nobody)
    (tmp_path / "file").write_text("")
    code, said = _error(monkeypatch, capsys, "--output", tmp_path)
    assert code == 1
    assert "is not an empty folder" in said


def test_real_images_are_imported(real_ham10000: Ham10000, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "images_200x150").mkdir(parents=True)
    shutil.copy(SHARED_HAM10000 / "HAM10000_metadata.csv", source)
    split = frozen_split(real_ham10000.images)
    for part in (split.train, split.validation, split.test):
        for code in CLASSES:
            for image in [image for image in part if image.diagnosis == code][:3]:
                name = f"images_200x150/{image.path.name}"
                shutil.copy(SHARED_HAM10000 / name, source / name)
    result = _invoke(source, "--output", tmp_path / "made")
    assert result.exit_code == 0, result.output
    rows = _rows(result)
    assert rows.pop("all")[0] == "63"
    assert {(cells[0], *cells[2:]) for cells in rows.values()} == {("9", "3", "3", "3")}
    assert "split ham10000-v1: " in result.output
    assert f"missing: {10_015 - 63}: " in result.output
