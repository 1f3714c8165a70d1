"""The command line as a whole: quick to start, explained, completed, and one code for one end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from cluster.cli import app, main
from cluster.exit_code import EXIT_CODES, CommandFailed, ExitCode
from models.errors import InvalidConfiguration
from tests.cluster.command_line import Shell
from tests.conftest import PROJECT

SLOW = {"ray", "torch", "numpy", "sqlalchemy", "mlflow", "httpx", "openvino"}
"""What takes longer to import than all that help needs; typer itself needs pydantic."""

COMMAND_NAMES = [
    *("up", "down", "status", "deploy", "predict", "predict-dir", "upload", "retrain", "train"),
    *("package", "evaluate", "bench", "import-ham10000", "models", "audit", "keys"),
]


def _commands() -> list[tuple[str, ...]]:
    """Every command with its name, groups excluded."""
    found: list[tuple[str, ...]] = []

    def walk(command: object, path: tuple[str, ...]) -> None:
        below = getattr(command, "commands", None)
        if below is None or (path and getattr(command, "invoke_without_command", False)):
            found.append(path)
        for name, each in (below or {}).items():
            walk(each, (*path, name))

    walk(get_command(app), ())
    return found


@pytest.mark.parametrize("arguments", [(), ("predict",), ("predict-dir",), ("deploy",), ("up",)])
def test_help_imports_nothing_slow(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom cluster.cli import main\n"
        f"try: main([*{arguments!r}, '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print(sorted({SLOW!r} & sys.modules.keys()), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert result.stderr == "[]\n"
    assert "Usage: dermserve" in result.stdout


def test_all_commands_are_there() -> None:
    assert {path[0] for path in _commands()} >= set(COMMAND_NAMES)


@pytest.mark.parametrize("path", _commands(), ids=" ".join)
def test_every_command_has_an_example(shell: Shell, path: tuple[str, ...]) -> None:
    ended = shell(*path, "--help")
    assert ended.code == 0
    assert re.search(rf"Examples?:\s+dermserve {' '.join(path)}", ended.out)


def test_the_exit_codes_are_in_the_help(shell: Shell) -> None:
    assert EXIT_CODES in shell("--help").out
    assert re.findall(r"[:;] (\d+) ", EXIT_CODES) == [str(int(code)) for code in ExitCode]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandFailed("No [red] \x1b[31mserver.", ExitCode.NO_SERVER), 3),
        (InvalidConfiguration("No [red] \x1b[31mserver."), 1),
    ],
)
def test_an_error_is_a_sentence_and_a_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(typer.Typer, "__call__", failing)
    ended = shell("anything")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err == "Error: No [red] \\x1b[31mserver.\n"


def test_a_mistake_of_ours_is_no_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(typer.Typer, "__call__", failing)
    with pytest.raises(ZeroDivisionError):
        main([])


def test_an_unknown_command_is_exit_code_2(shell: Shell) -> None:
    ended = shell("predct")
    assert ended.code == 2
    assert "predict" in ended.err


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell_name: str) -> None:
    assert "_DERMSERVE_COMPLETE" in _python("--show-completion", shell_name)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dermserve pre", {"predict", "predict-dir"}),
        ("dermserve retrain c", {"cancel"}),
        ("dermserve upload --label ", {"akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"}),
        ("dermserve predict --for", {"--format"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    said = _python(
        COMP_WORDS=typed,
        COMP_CWORD=str(len(words) - 1),
        _DERMSERVE_COMPLETE="complete_bash",
    )
    assert set(said.split()) == offered


def _python(*arguments: str, **environment: str) -> str:
    code = f"from cluster.cli import main; main({list(arguments)!r})"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_its_documentation_is_up_to_date(tmp_path: Path) -> None:
    """`make docs` writes it."""
    written = tmp_path / "cli.md"
    subprocess.run(
        [
            *(sys.executable, "-m", "typer", "cluster.cli", "utils", "docs"),
            *("--name", "dermserve", "--title", "dermserve", "--output", written),
        ],
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "80"},
        check=True,
        capture_output=True,
    )
    assert written.read_text() == (PROJECT / "docs" / "cli.md").read_text()
    assert str(PROJECT) not in written.read_text()
