"""`dermserve keys`: the key is shown once, and mistakes are one sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from data.catalogue.api_key import id_of
from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.catalogue.keys import Keys
from tests.conftest import PROJECT


@pytest.fixture(autouse=True)
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A catalogue; rich would read the brackets as a style and leave them out."""
    url = f"sqlite:///{tmp_path}/a [red] folder/catalogue.db"
    monkeypatch.setenv(CATALOGUE_VARIABLE, url)
    return url


def _keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], env={"COLUMNS": "300"})


def _create(*arguments: str) -> str:
    result = _keys("create", "--name", "ward-7", "--role", "predict", *arguments)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return line


def test_a_life_of_keys(catalogue: str) -> None:
    text = _create("--role", "upload", "--days", "90", "--requests-per-minute", "60")
    key_id = id_of(text)
    assert key_id is not None
    listed = _keys("list").output
    assert key_id in listed
    assert "predict, upload" in listed
    assert "valid" in listed
    assert "60 requests" in listed
    assert f"Catalogue: {catalogue}." in listed
    assert text not in listed
    assert text.rpartition("_")[2] not in listed
    revoked = _keys("revoke", key_id)
    assert revoked.exit_code == 0
    assert f"{key_id} (ward-7) opens nothing any more" in revoked.output
    assert "was revoked" in _keys("list").output
    assert _keys("revoke", key_id).exit_code == 0  # again is the same as once


def test_the_key_alone_is_on_standard_output() -> None:
    result = _keys("create", "--name", "a", "--role", "admin")
    assert re.fullmatch(r"ds_[0-9a-f]{12}_[0-9a-f]{64}\n", result.stdout)
    assert "shown this once" in result.stderr
    assert result.stdout.strip() not in result.stderr


def test_a_name_with_markup_is_shown_as_it_is() -> None:
    result = _keys("create", "--name", "[bold]a[/]", "--role", "predict")
    assert result.exit_code == 0
    assert "[bold]a[/]" in _keys("list").output


def test_an_empty_list() -> None:
    result = _keys("list")
    assert result.exit_code == 0
    assert "Catalogue:" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "--name", "", "--role", "predict"], "name must be"),
        (["create", "--name", "a", "--role", "predict", "--days", "0"], "A key may last"),
        (
            ["create", "--name", "a", "--role", "predict", "--bytes-per-minute", "0"],
            "A limit per minute",
        ),
        (["revoke", "000000000000"], "dermserve keys list"),
        (["revoke", "[red]"], "dermserve keys list"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from cluster.cli import main; main()", "keys", *arguments],
        cwd=PROJECT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    assert run.stderr.startswith("Error: ")
    assert sentence in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert Keys(Database()).all() == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--name", "a"],
        ["create", "--role", "predict"],
        ["create", "--name", "a", "--role", "root"],
        ["revoke"],
    ],
)
def test_what_the_command_line_lacks_is_a_usage_error(arguments: list[str]) -> None:
    assert _keys(*arguments).exit_code == 2
