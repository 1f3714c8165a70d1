"""`dermserve upload`: a verdict for each file, and nothing sent twice or under a wrong label."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.upload_command import Diagnosis, LabelSource
from data.catalogue.database import Database
from data.catalogue.uploads import Upload, Uploads
from data.synthetic import synthetic_jpeg
from dermserve_client import uploads
from models.classes import CLASSES
from tests.cluster.command_line import Ended, Shell
from tests.cluster.conftest import HOSTILE
from tests.conftest import free_port


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures that are no copies of each other, in the folder where the commands run."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, code in enumerate(("nv", "mel", "bcc")):
        data = synthetic_jpeg(code, seed=700 + number, width=300, height=225)
        (folder / f"{number}.jpg").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return folder


def _stored(database: Database) -> list[Upload]:
    return list(Uploads(database).page().items)


def _verdicts(ended: Ended) -> list[str]:
    return [row["verdict"] for row in csv.DictReader(io.StringIO(ended.out))]


@pytest.mark.usefixtures("api_url")
def test_one_label_for_all(shell: Shell, scans: Path, database: Database) -> None:
    arguments = ("upload", "scans", "--label", "nv", "--source", "expert", "--lesion", "L-1")
    ended = shell(*arguments, "--uploader", "ward")
    assert (ended.code, _verdicts(ended)) == (0, ["accepted"] * 3)
    assert "3 accepted" in ended.err
    assert "7 more labelled images until the server retrains by itself" in ended.err
    stored = _stored(database)
    assert {(each.label, each.label_source, each.lesion_id, each.uploader) for each in stored} == {
        ("nv", "expert", "L-1", "ward")
    }
    # Again does no harm, and is no failure.
    again = shell(*arguments)
    assert (again.code, _verdicts(again)) == (0, ["duplicate"] * 3)
    assert len(_stored(database)) == 3


@pytest.mark.usefixtures("api_url")
def test_a_table_of_labels(shell: Shell, scans: Path, database: Database) -> None:
    Path("labels.csv").write_text("file;dx;lesion_id\n0.jpg;nv;A\n1;MEL;B\n")
    (scans / "broken.jpg").write_bytes(b"no image")
    ended = shell("upload", "scans", "scans/none.jpg", "--labels", "labels.csv", "--chunk", 2)
    assert ended.code == 1
    assert _verdicts(ended) == ["accepted", "accepted", "needs_label", "rejected", "rejected"]
    assert "3 files have no label" in ended.err
    stored = {each.lesion_id: each.label for each in _stored(database)}
    assert stored == {"A": "nv", "B": "mel", None: None}


@pytest.mark.usefixtures("api_url")
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,label\n0.jpg,wart\n", "none of the seven classes"),
        ("file,label\n0.jpg,nv\n0.jpg,mel\n", "two labels"),
        ("0.jpg,nv\n", "columns"),
        ("file,label\nx.jpg,nv\n", "names none of these files"),
        ("\0", "no text"),
        ("", "columns"),
        ('file,label\n"0.jpg,nv\n', "names none of these files"),
        ("file,label\n\x1b[31m0.jpg,\x1b[31m\n", "none of the seven classes"),
    ],
)
def test_a_table_with_a_mistake_sends_nothing(
    shell: Shell, scans: Path, database: Database, table: str, said: str
) -> None:
    Path("labels.csv").write_text(table)
    ended = shell("upload", "scans", "--labels", "labels.csv")
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "\x1b" not in ended.err
    assert _stored(database) == []


@pytest.mark.usefixtures("api_url")
def test_a_name_that_two_files_have_is_not_guessed(
    shell: Shell, scans: Path, database: Database
) -> None:
    (scans / "more").mkdir()
    (scans / "more" / "0.png").write_bytes((scans / "2.jpg").read_bytes())
    Path("labels.csv").write_text("image,label\n0,nv\n1.jpg,mel\n")
    ended = shell("upload", "scans", "--labels", "labels.csv")
    assert ended.code == 2
    assert "2 files are called so" in ended.err
    assert _stored(database) == []
    Path("labels.csv").write_text("file,label\nscans/0.jpg,nv\nscans/more/0.png,bcc\n")
    assert shell("upload", "scans", "--labels", "labels.csv").code == 0


@pytest.mark.usefixtures("api_url")
@pytest.mark.parametrize(
    ("other", "table"),
    [
        ("more/1.jpg", "file,label,lesion\n1.jpg,,L1\n"),
        ("more/1.jpg", "file,label,lesion\nscans/1.jpg,nv,\nscans/more/1.jpg,bcc,\n1,,L1\n"),
        ("x.zip: 1.jpg", "file,label\n1.jpg,nv\n"),
    ],
    ids=["a lesion", "a lesion beside whole paths", "a name like an archive's"],
)
def test_neither_a_lesion_nor_a_strange_name_is_guessed(
    shell: Shell, scans: Path, database: Database, other: str, table: str
) -> None:
    (scans / other).parent.mkdir(exist_ok=True)
    (scans / other).write_bytes((scans / "2.jpg").read_bytes())
    Path("labels.csv").write_text(table)
    ended = shell("upload", "scans", "--labels", "labels.csv")
    assert ended.code == 2
    assert "2 files are called so" in ended.err
    assert _stored(database) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--label", "wart"),
        ("--label", "nv", "--labels", "labels.csv"),
        ("--lesion", "A", "--labels", "labels.csv"),
        ("--labels", "none.csv"),
        ("--labels", "scans"),
        ("--source", "guess"),
        ("--chunk", "0"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2(
    shell: Shell, scans: Path, arguments: tuple[str, ...]
) -> None:
    Path("labels.csv").write_text("file,label\n0.jpg,nv\n")
    assert shell("upload", "scans", *arguments).code == 2


@pytest.mark.usefixtures("api_url")
def test_a_request_that_is_too_large_is_cut(shell: Shell, scans: Path) -> None:
    """The server takes 16 files at once, and 200 kB of one file."""
    for number in range(20):
        data = synthetic_jpeg("nv", seed=800 + number, width=64, height=64)
        (scans / f"x{number:02}.jpg").write_bytes(data)
    (scans / "y.jpg").write_bytes(
        synthetic_jpeg("nv", seed=1, width=64, height=64) + bytes(300_000)
    )
    verdicts = _verdicts(shell("upload", "scans", "--label", "nv", "--chunk", 100))
    assert len(verdicts) == 24
    assert verdicts[-1] == "rejected"
    assert "unknown" not in verdicts


@pytest.mark.parametrize(("status", "code"), [(429, "too_many_requests"), (401, "unauthorized")])
def test_what_a_half_has_stored_is_told(
    shell: Shell,
    api_url: str,
    scans: Path,
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    status: int,
    code: str,
) -> None:
    """Three files are too many for one request; the first goes in, and the next is refused."""
    asked = 0
    send = httpx.Client.send

    def refusing(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        nonlocal asked
        if request.url.path != "/upload/bulk":
            return send(self, request, **options)
        asked += 1
        if asked == 2:
            return send(self, request, **options)
        refused = {1: (413, "body_too_large")}.get(asked, (status, code))
        error = {"error": {"code": refused[1], "message": "No.", "request_id": "x"}}
        return httpx.Response(refused[0], json=error, request=request)

    monkeypatch.setattr(httpx.Client, "send", refusing)
    ended = shell("upload", "scans", "--label", "nv")
    assert ended.code != 0
    assert _verdicts(ended) == ["accepted", "not_sent", "not_sent"]
    assert len(_stored(database)) == 1


def test_no_answer_stops_it_and_says_for_which_files(
    shell: Shell, api_url: str, scans: Path, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    asked = 0
    send = httpx.Client.send

    def breaking(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        nonlocal asked
        if request.url.path != "/upload/bulk":
            return send(self, request, **options)
        asked += 1
        response = send(self, request, **options)
        if asked == 2:  # it has arrived, and its answer is lost
            raise httpx.ReadError("reset", request=request)
        return response

    monkeypatch.setattr(httpx.Client, "send", breaking)
    ended = shell("upload", "scans", "--label", "nv", "--chunk", 1, "--format", "jsonl")
    assert ended.code == 3
    results = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["verdict"] for each in results] == ["accepted", "unknown", "not_sent"]
    assert "may have done what it was asked for" in ended.err
    assert asked == 2
    assert len(_stored(database)) == 2


def test_no_server(shell: Shell, scans: Path) -> None:
    ended = shell("upload", "scans", "--url", f"http://127.0.0.1:{free_port()}")
    assert ended.code == 3
    assert "dermserve up" in ended.err


@pytest.mark.usefixtures("api_url")
def test_a_hostile_name_reaches_no_terminal(shell: Shell, scans: Path) -> None:
    (scans / HOSTILE).write_bytes(b"no image")
    for format_ in ("table", "csv", "jsonl"):
        ended = shell("upload", scans / HOSTILE, "--format", format_)
        assert ended.code == 1
        assert (ended.out + ended.err).replace("\n", "").isprintable()
        assert "red]b" in ended.out


def test_it_offers_what_the_server_takes() -> None:
    assert tuple(each.value for each in Diagnosis) == CLASSES
    assert tuple(each.value for each in LabelSource) == uploads.LabelSource.__args__  # type: ignore[attr-defined]
