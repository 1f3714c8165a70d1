"""What DermServe is made of: pinned versions, licences that we know, weights that run nothing."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import PROJECT

RUNTIME = ("load", "postgres", "s3", "tracing")
"""The extras of those who run a server."""
EXTRAS = (*RUNTIME, "audit", "dev")
"""The extras whose versions are pinned."""

# `venv` and `make` bring them.
INSTALLERS = {"pip", "setuptools"}

PACKAGES = ("serve_app", "models", "data", "training", "cluster", "configs", "dermserve_client")
SOURCES = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]

# What makes objects out of bytes by running what the bytes say.
LOADERS = {
    "cloudpickle": None,
    "dill": None,
    "joblib": None,
    "marshal": None,
    "pickle": None,
    "shelve": None,
    "skops": None,
    "mlflow": {"load_model", "pyfunc", "pytorch", "sklearn"},
    "torch": {"load", "jit"},
    "numpy": {"load"},
    "yaml": {"load", "full_load", "unsafe_load"},
}


@cache
def needed(extras: tuple[str, ...]) -> dict[str, list[Requirement]]:
    """Every installed distribution that some extras need, and what asks for it."""
    found: dict[str, list[Requirement]] = {}
    todo, seen = [Requirement(f"dermserve[{','.join(extras)}]")], set()
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        try:
            distribution(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed here
        found.setdefault(name, []).append(asked)
        if (name, frozenset(asked.extras)) in seen:
            continue
        seen.add((name, frozenset(asked.extras)))
        for each in map(Requirement, requires(name) or ()):
            environments = [{"extra": extra} for extra in ("", *asked.extras)]
            if each.marker is None or any(map(each.marker.evaluate, environments)):
                todo.append(each)
    del found["dermserve"]
    return found


def pins() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pinned
        if pin.marker is None or pin.marker.evaluate()
    }


def licence_of(name: str) -> list[str]:
    """What a distribution's metadata says: an expression, or names in older forms."""
    about = distribution(name).metadata
    if expression := about.get("License-Expression"):
        return [expression]
    classifiers = [each for each in about.get_all("Classifier") or () if each[:7] == "License"]
    if classifiers:
        return [each.split("::")[-1].strip() for each in classifiers]
    return [(about.get("License") or "").strip().partition("\n")[0]]


@pytest.fixture(scope="module")
def policy() -> Any:
    return yaml.safe_load((PROJECT / "docs" / "licences.yaml").read_text())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="pinned for Python 3.11 and newer")
def test_every_distribution_is_pinned() -> None:
    pinned = pins()
    open_ = {
        name: [str(each) for each in asked]
        for name, asked in needed(EXTRAS).items()
        if name not in pinned
        and name not in INSTALLERS
        # Torch names the exact versions of its CUDA packages, and they of theirs.
        and not name.startswith(("cuda-", "nvidia-"))
        and name != "triton"
    }
    assert open_ == {}


def test_every_direct_dependency_has_a_pin_of_its_own() -> None:
    direct = [Requirement(each) for each in requires("dermserve") or ()]
    of_extras = [
        each for each in direct if any(f'"{extra}"' in str(each.marker) for extra in EXTRAS)
    ]
    of_all = [each for each in direct if "extra" not in str(each.marker)]
    assert len(of_all) > 30
    text = (PROJECT / "constraints.txt").read_text().lower()
    names = {canonicalize_name(line.partition("==")[0]) for line in text.splitlines()}
    unpinned = {canonicalize_name(each.name) for each in of_all + of_extras} - names
    assert unpinned == set()


def test_a_pin_is_one_version() -> None:
    assert len(pins()) > 150
    assert {name: pin for name, pin in pins().items() if not re.fullmatch(r"[\w.]+", pin)} == {}


def test_every_licence_is_one_that_we_know(policy: Any) -> None:
    unknown = {}
    allowed, exceptions, nvidia = policy["allowed"], policy["exceptions"], policy["proprietary"]
    for name in needed(RUNTIME):
        said = licence_of(name)
        if name in exceptions and said == [exceptions[name]["licence"]]:
            continue
        if name.startswith(nvidia["prefix"]) and set(said) <= set(nvidia["licences"]):
            continue
        spdx = [policy["written_as"].get(each, each) for each in said]
        terms = [term.strip("() ") for each in spdx for term in re.split(r" AND | OR ", each)]
        if not set(terms) <= set(allowed):
            unknown[name] = said
    assert unknown == {}


def test_an_exception_is_needed_and_explained(policy: Any) -> None:
    for name, exception in policy["exceptions"].items():
        assert exception["why"]
        assert exception["licence"] not in policy["allowed"], name


def _loaders(path: Path) -> set[str]:
    """What a file imports or calls that may run what it reads."""
    aliases: dict[str, str] = {}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or alias.name] = alias.name
                found |= _forbidden(*alias.name.partition(".")[::2])
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found |= _forbidden(node.module.partition(".")[0], alias.name)
                found |= _forbidden(*node.module.partition(".")[::2])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = aliases.get(node.value.id)
            if module is not None:
                found |= _forbidden(module.partition(".")[0], node.attr)
    return found


def _forbidden(module: str, name: str) -> set[str]:
    names = LOADERS.get(module, set())
    if names is None:
        return {module}
    return {f"{module}.{name}"} if name.partition(".")[0] in names else set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_nothing_that_is_read_is_run(path: Path) -> None:
    assert _loaders(path) == set()


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.jit.load('x')",
        "from torch import load",
        "import torch.jit",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import mlflow\nmlflow.pyfunc.load_model('x')",
        "from mlflow.pytorch import load_model",
        "import mlflow.sklearn",
    ],
)
def test_the_search_finds_each_of_them(code: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(code)
    assert _loaders(path) != set()


def test_weights_are_safetensors_of_a_known_hash() -> None:
    """What a damaged file does is in tests/models/test_package.py and test_registry_damage.py."""
    named = {
        path.relative_to(PROJECT).as_posix()
        for path in SOURCES
        if re.search(r"\bsafetensors\b.*\bimport\b.*\bload\w*", path.read_text(encoding="utf-8"))
    }
    assert named
    assert all(name.startswith(("models/", "training/")) for name in named), named
    suffixes = {path.suffix for path in (PROJECT / "models" / "champion").iterdir()}
    assert ".safetensors" in suffixes
    assert suffixes & {".pt", ".pth", ".pkl", ".pickle", ".joblib", ".npy", ".ckpt"} == set()
