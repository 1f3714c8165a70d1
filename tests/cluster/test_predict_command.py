"""`dermserve predict`: every file its result, through a server and without one."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from cluster.options import EngineChoice
from cluster.predicted_file import COLUMNS
from data.catalogue.api_key import Role
from data.catalogue.keys import Keys
from data.synthetic import synthetic_jpeg
from models.errors import Overloaded
from models.package import BUNDLED_CHAMPION
from serve_app.access.key_ring import KeyRing
from serve_app.engines import EngineName
from tests.cluster.command_line import Shell
from tests.cluster.conftest import HOSTILE
from tests.conftest import PROJECT, free_port
from tests.serve_app.chain import InProcessChain

OFFLINE = ("--offline", "--package", str(BUNDLED_CHAMPION))


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _names(rows: list[dict[str, str]]) -> list[str]:
    return [os.path.basename(row["file"]) for row in rows]


@pytest.mark.usefixtures("api_url")
def test_a_folder_through_a_server(shell: Shell, pictures: Path) -> None:
    ended = shell("predict", pictures)
    assert ended.code == 1
    rows = _rows(ended.out)
    assert _names(rows) == ["a.jpg", "b.JPEG", "broken.png", "empty.jpg", "c.jpg"]
    assert [row["error_code"] for row in rows] == [
        *("", "", "unsupported_image", "empty_image", "")
    ]
    assert tuple(rows[0]) == COLUMNS
    assert sum(float(rows[0][name]) for name in COLUMNS if name[:2] == "p_") == pytest.approx(
        1, abs=1e-5
    )
    assert "5 files by model 2" in ended.err
    assert "2 of them have an error" in ended.err
    assert "not a diagnosis" in ended.err
    ended = shell("predict", pictures / "a.jpg", pictures / "broken.png")
    assert "1 of them has an error" in ended.err


@pytest.mark.usefixtures("api_url")
def test_without_a_server_it_says_the_same(shell: Shell, pictures: Path) -> None:
    served = _rows(shell("predict", pictures).out)
    offline = _rows(shell("predict", pictures, *OFFLINE).out)
    for one, other in zip(served, offline, strict=True):
        for column in COLUMNS:
            if column.startswith("p_") and one[column]:
                assert float(one[column]) == pytest.approx(float(other[column]), abs=0.02)
            elif column not in ("confidence", "malignant_score", "error"):
                assert one[column] == other[column]


@pytest.mark.usefixtures("api_url")
def test_one_good_file_is_exit_code_0(shell: Shell, pictures: Path) -> None:
    ended = shell("predict", pictures / "a.jpg", "--format", "json")
    assert ended.code == 0
    (document,) = json.loads(ended.out)
    assert document["prediction"]["model_version"] == "2"
    assert document["prediction"]["disclaimer"]


@pytest.mark.usefixtures("api_url")
@pytest.mark.parametrize("where", [(), OFFLINE])
def test_a_hostile_name_reaches_no_terminal(
    shell: Shell, tmp_path: Path, where: tuple[str, ...]
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / HOSTILE).write_bytes(synthetic_jpeg("nv", seed=1))
    os.write(os.open(os.fsencode(folder) + b"/\xff.png", os.O_CREAT | os.O_WRONLY), b"none")
    for format_ in ("table", "csv", "json", "jsonl"):
        ended = shell("predict", folder, "--format", format_, *where)
        assert ended.code == 1
        for text in (ended.out, ended.err):
            assert text.replace("\n", "").isprintable()
        if format_ in ("table", "csv"):
            assert "a [red]b \\x1b[31mc\\nd \\u202egpj.jpg" in ended.out
            assert "\\xff.png" in ended.out
    names = [json.loads(line)["file"] for line in ended.out.splitlines()]
    assert [os.fsencode(name) for name in names] == [
        *sorted(os.fsencode(folder / os.fsdecode(name)) for name in os.listdir(folder))
    ]


@pytest.mark.usefixtures("api_url")
def test_a_spreadsheet_runs_nothing(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "=HYPERLINK(1).jpg"
    Path(name).write_bytes(synthetic_jpeg("nv", seed=1))
    assert _rows(shell("predict", name).out)[0]["file"] == f"'{name}"
    assert json.loads(shell("predict", name, "--format", "jsonl").out)["file"] == name


@pytest.mark.usefixtures("api_url")
def test_what_cannot_be_read_has_an_error_and_stops_nothing(
    shell: Shell, tmp_path: Path, pictures: Path
) -> None:
    pipe, large = tmp_path / "pipe.jpg", tmp_path / "large.jpg"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    missing = tmp_path / "missing.jpg"
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    ended = shell("predict", pipe, "/dev/zero", large, missing, loop, "", pictures / "a.jpg")
    assert ended.code == 1
    rows = _rows(ended.out)
    assert [row["error_code"] for row in rows] == ["unreadable_file"] * 6 + [""]
    assert [row["error"].partition(":")[0] for row in rows[:3]] == [
        "It is no file. Name a file or a folder.",
        "It is no file. Name a file or a folder.",
        "The file has 68 MB; 67 are the most. Save the picture smaller.",
    ]
    assert "No such file" in rows[3]["error"]


@pytest.mark.usefixtures("api_url")
def test_a_request_that_is_too_large_is_cut_until_it_fits(shell: Shell, tmp_path: Path) -> None:
    """The server takes four files and 500 kB at once, and 200 kB of one file."""
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_bytes(synthetic_jpeg("nv", seed=number))
    (tmp_path / "5.jpg").write_bytes(bytes(300_000))
    rows = _rows(shell("predict", tmp_path, "--chunk", 9, "--concurrency", 2).out)
    assert _names(rows) == [f"{number}.jpg" for number in range(9)]
    assert [row["error_code"] for row in rows] == [
        "body_too_large" if number == 5 else "" for number in range(9)
    ]


def test_a_file_is_written_whole_or_not_at_all(
    shell: Shell, api_url: str, chain: InProcessChain, pictures: Path, tmp_path: Path
) -> None:
    output, partial = tmp_path / "results.csv", tmp_path / "results.csv.part"
    assert shell("predict", pictures, "--output", output).code == 1
    assert len(_rows(output.read_text())) == 5
    assert not partial.exists()
    before = output.read_bytes()
    # The server goes away in the middle: what came of the others is kept, under another name.
    many = tmp_path / "many"
    many.mkdir()
    for number in range(6):
        (many / f"{number}.jpg").write_bytes(synthetic_jpeg("nv", seed=number))
    asked = 0
    answer = chain.classify

    async def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 2:
            chain.error = Overloaded("Full.")
        return await answer(*args, **kwargs)

    chain.classify = failing  # type: ignore[method-assign]
    import cluster.predict_command as module

    patience, module._PATIENCE_S = module._PATIENCE_S, 0.1
    try:
        ended = shell("predict", many, "--chunk", 1, "--concurrency", 1, "--output", output)
    finally:
        module._PATIENCE_S = patience
        chain.classify = answer  # type: ignore[method-assign]
    assert ended.code == 5
    assert "Full." in ended.err
    assert output.read_bytes() == before
    assert len(_rows(partial.read_text())) == 2
    assert f"4 of 6 files have no result. The others are in {partial}" in ended.err


@pytest.mark.usefixtures("api_url")
def test_the_ending_of_a_file_chooses_the_format(
    shell: Shell, pictures: Path, tmp_path: Path
) -> None:
    for name in ("r.json", "r.jsonl", "r.csv", "r"):
        assert shell("predict", pictures / "a.jpg", "--output", tmp_path / name).code == 0
    assert len(json.loads((tmp_path / "r.json").read_text())) == 1
    assert json.loads((tmp_path / "r.jsonl").read_text())["prediction"]
    assert (tmp_path / "r").read_bytes() == (tmp_path / "r.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "PATH"),
        (("{folder}",), "nothing to classify"),
        (("{folder}/*.jpg",), "nothing to classify"),
        (("x.jpg", "--output", "{folder}", *OFFLINE), "cannot be written"),
        (("x.jpg", "--output", "{folder}/no/x.csv", *OFFLINE), "No such file"),
        (("x.jpg", "--output", "{folder}/x.csv", "--format", "table"), "for the terminal"),
        (("x.jpg", "--engine", "abacus"), "abacus"),
        (("x.jpg", "--url", "ftp://server"), "must begin with http"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2(
    shell: Shell, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    folder = tmp_path / "a [red] folder"
    folder.mkdir()
    ended = shell("predict", *(each.format(folder=folder) for each in arguments))
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""
    assert list(folder.iterdir()) == []


def test_a_server_that_does_not_run_is_told_at_once(shell: Shell, pictures: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = shell("predict", pictures, "--url", url)
    assert (ended.code, ended.out) == (3, "")
    assert f"No server answers at {url}. Start one with `dermserve up`" in ended.err
    assert "Traceback" not in ended.err


def test_what_is_no_dermserve_is_told(shell: Shell, pictures: Path, tmp_path: Path) -> None:
    port = free_port()
    other = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    try:
        assert other.stdout is not None
        assert "Serving HTTP" in other.stdout.readline()
        ended = shell("predict", pictures, "--url", f"http://127.0.0.1:{port}")
    finally:
        other.kill()
        other.communicate()
    assert ended.code == 5
    assert "answered 404" in ended.err


def test_a_key_is_asked_for_and_taken_from_the_environment(
    shell: Shell,
    api_url: str,
    keys: Keys,
    ring: KeyRing,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict = keys.create("ward", [Role.PREDICT], "test")
    upload = keys.create("lab", [Role.UPLOAD], "test")
    ring.refresh()
    ended = shell("predict", pictures)
    assert ended.code == 4
    assert "DERMSERVE_API_KEY" in ended.err
    monkeypatch.setenv("DERMSERVE_API_KEY", upload.text)
    ended = shell("predict", pictures)
    assert ended.code == 4
    assert upload.text not in ended.err
    monkeypatch.setenv("DERMSERVE_API_KEY", predict.text)
    assert shell("predict", pictures / "a.jpg").code == 0
    monkeypatch.setenv("DERMSERVE_API_KEY", "gr\u00fcn")
    ended = shell("predict", pictures)
    assert ended.code == 2
    assert "gr\u00fcn" not in ended.err


def test_offline_needs_neither_ray_nor_torch(pictures: Path) -> None:
    code = (
        "import sys\nfrom cluster.cli import main\n"
        f"try: main(['predict', {str(pictures / 'a.jpg')!r}, *{list(OFFLINE)!r}])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'ray', 'torch', 'mlflow'} & sys.modules.keys()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_a_package_that_is_none_is_told(shell: Shell, pictures: Path, tmp_path: Path) -> None:
    ended = shell("predict", pictures, "--offline", "--package", tmp_path / "none")
    assert ended.code == 1
    assert "none" in ended.err
    assert "Traceback" not in ended.err


def test_it_offers_the_engines_that_there_are() -> None:
    assert {each.value for each in EngineChoice} == set(get_args(EngineName))
