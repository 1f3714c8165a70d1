"""The units of systemd: what systemd itself says of them, and that they start what exists."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

UNITS = sorted((PROJECT / "cluster" / "systemd").glob("*.service"))
MAX_EXPOSURE = 2.0
"""Of 10, by systemd's measure; 5 and more it calls medium, a unit that says nothing has 9.6."""


@pytest.fixture
def systemd_analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    return program


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit whose programs are there: systemd looks for them."""
    text = request.param.read_text().replace("/opt/dermserve/bin/", f"{tmp_path}/")
    for program in re.findall(rf"^Exec\w+={re.escape(str(tmp_path))}/(\S+)", text, re.MULTILINE):
        (tmp_path / program).symlink_to("/bin/true")
    path: Path = tmp_path / request.param.name
    path.write_text(text.replace("/usr/bin/curl", "/bin/true"))
    return path


def test_systemd_understands_it(systemd_analyze: str, unit: Path) -> None:
    result = subprocess.run([systemd_analyze, "verify", unit], capture_output=True, text=True)
    about = [line for line in result.stderr.splitlines() if line.startswith(str(unit.name)[:9])]
    assert (result.returncode, about) == (0, [])


def test_systemd_finds_what_it_does_not_understand(systemd_analyze: str, unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSytem=strict"))
    result = subprocess.run([systemd_analyze, "verify", unit], capture_output=True, text=True)
    assert "ProtectSytem" in result.stderr


def test_it_is_hardened(systemd_analyze: str, unit: Path) -> None:
    result = subprocess.run(
        [
            systemd_analyze,
            "security",
            "--offline=yes",
            f"--threshold={MAX_EXPOSURE * 10:.0f}",
            unit,
        ],
        capture_output=True,
        text=True,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert exposure is not None, result.stderr
    assert float(exposure[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_it_starts_a_program_of_ours(path: Path) -> None:
    (program,) = re.findall(r"^ExecStart=/opt/dermserve/bin/(\S+)", path.read_text(), re.MULTILINE)
    scripts = (PROJECT / "pyproject.toml").read_text().partition("\n[project.scripts]\n")[2]
    assert f"{program} = " in scripts.partition("\n[")[0]


def test_a_stop_finishes_what_was_accepted() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(PROJECT / "cluster" / "systemd" / "dermserve.service")
    service = parser["Service"]
    # The others would end the replicas beside the process that drains them.
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 30
    assert service["Restart"] == "on-failure"
