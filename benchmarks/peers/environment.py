"""The peers' environment: a virtual environment beside ours, made when it is first needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from models.errors import InvalidConfiguration
from models.tracking_uri import var_folder

_TREE = Path(__file__).parents[2]
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_TRITON = Path(__file__).with_name("requirements-triton.txt")
_CONSTRAINTS = _TREE / "constraints.txt"

# BentoML asks for other versions of these; all else is what our own server is tested with.
_FREED = ("certifi", "opentelemetry")


def peers_python(folder: Path | None = None) -> Path:
    """The interpreter of the environment, which is made or brought up to date if need be.

    It takes minutes and about 7 GB, most of which is torch.

    Args:
        folder: of the environment; None for `peers-venv` in `var/`.

    Raises:
        InvalidConfiguration: if it cannot be made.
    """
    folder = folder or var_folder() / "peers-venv"
    python = folder / "bin" / "python"
    stamp = folder / ".made-of"
    wanted = fingerprint()
    if python.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return python
    if not (_TREE / "pyproject.toml").is_file():
        raise InvalidConfiguration(
            "The peers' environment is made from the project's tree. Run this from a clone, or "
            "name an interpreter that has the peers with --peers-python."
        )
    if not python.is_file():
        _run([sys.executable, "-m", "venv", str(folder)])
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(peers_constraints(_CONSTRAINTS.read_text())) + "\n")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    _run(
        [
            *(*pip, "--constraint", str(constraints), "--requirement", str(_REQUIREMENTS)),
            *("--editable", str(_TREE)),
        ]
    )
    _run([*pip, "--no-deps", "--requirement", str(_TRITON)])
    stamp.write_text(wanted)
    return python


def peers_constraints(ours: str) -> list[str]:
    """Our constraints without those that a peer contradicts."""
    return [line for line in ours.splitlines() if not line.startswith(_FREED)]


def fingerprint() -> str:
    """What an environment is made of; another one means another environment."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (_REQUIREMENTS, _TRITON, _CONSTRAINTS, _TREE / "pyproject.toml"):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise InvalidConfiguration(
            f"The peers' environment cannot be made, `{' '.join(command)}` failed:\n{reason}"
        )
