"""The tree is the architecture: imports run one way and files stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import PROJECT

MAY_IMPORT = {
    "configs": set(),
    "models": {"configs"},
    "data": {"models", "configs"},
    "serve_app": {"models", "data", "configs"},
    "training": {"models", "data", "configs"},
    "cluster": {
        *("models", "data", "configs", "training", "serve_app", "benchmarks"),
        "dermserve_client",  # as anybody's program
    },
    "benchmarks": {"models", "data", "configs", "serve_app", "training", "dermserve_client"},
    "dermserve_client": set(),
    "dashboard": {"dermserve_client"},
}
MAX_LINES = 320

SOURCES = [path for package in MAY_IMPORT for path in sorted((PROJECT / package).rglob("*.py"))]


def _imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & MAY_IMPORT.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(PROJECT).parts[0]
    assert _imported_packages(path) <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_file_is_one_noun(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text)), "the file does not say what it is"
