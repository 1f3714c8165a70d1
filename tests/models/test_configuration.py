"""Configuration files: read, validated, and refused with the file's name and the field's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from configs import FOLDER
from models.configuration import (
    NoServeConfiguration,
    read_config,
    read_serve_config,
    validate,
)
from models.errors import InvalidConfiguration


class Pool(BaseModel):
    model_config = ConfigDict(extra="forbid")

    replicas: int = Field(1, ge=1)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = "default"
    pools: tuple[Pool, ...] = ()


def _write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_is_read_into_its_model(tmp_path: Path) -> None:
    path = _write(tmp_path, "# a comment\nname: größer\npools:\n  - {replicas: 2}\n  - {}\n")
    expected = Settings(name="größer", pools=(Pool(replicas=2), Pool()))
    assert read_config(path, Settings) == expected


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_stands_for_the_defaults(tmp_path: Path, text: str) -> None:
    assert read_config(_write(tmp_path, text), Settings) == Settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("naem: a", r"naem: Extra inputs are not permitted"),
        ("name: 3", r"name: Input should be a valid string"),
        ("pools: [{}, {replicas: 0}]", r"pools\.1\.replicas: Input should be greater than"),
        ("naem: a\nname: 3", r"name: .*; naem: "),
        ("just text", r"the document: Input should be a valid dictionary"),
        ("[1, 2]", r"the document: "),
        ("name: [1", r"is no valid YAML"),
        ("name: !!python/object/apply:os.getcwd []", r"is no valid YAML"),
        ("name: 2024-13-45", r"is no valid YAML: month must be in 1\.\.12"),
        (b"name: \xff", r"is no valid YAML"),
        (b"name: \x00", r"is no valid YAML"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(InvalidConfiguration, match=says) as refusal:
        read_config(path, Settings)
    assert refusal.value.message.startswith(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InvalidConfiguration, match=re.escape(f"{path} cannot be read: ")):
            read_config(path, Settings)


def test_validation_names_where_the_settings_came_from() -> None:
    assert validate({"name": "a"}, Settings, "user_config") == Settings(name="a")
    with pytest.raises(InvalidConfiguration, match=r"user_config breaks a rule\. naem: "):
        validate({"naem": "a"}, Settings, "user_config")


def test_every_shipped_file_is_yaml_with_a_comment_that_says_what_it_is() -> None:
    files = sorted(FOLDER.glob("*.yaml"))
    assert files
    for path in files:
        assert path.read_text(encoding="utf-8").startswith("# ")
        read_config(path, _Anything)


class _Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


@pytest.mark.parametrize("text", ["", "[]", "words", "http_options: {}", "applications: none"])
def test_what_is_no_serve_configuration(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(NoServeConfiguration, match="lists no applications"):
        read_serve_config(path)
    path.write_text("applications: [words]")
    with pytest.raises(NoServeConfiguration, match="lists no applications"):
        read_serve_config(path)
    path.write_text("applications: []")
    assert read_serve_config(path) == {"applications": []}
