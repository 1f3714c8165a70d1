"""Control groups of both versions, read from folders like the system's."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.doctor.cgroup import Allowance, allowance_of

GIB = 2**30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "7").mkdir(parents=True)
    return tmp_path / "proc"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_version_2(proc: Path, root: Path) -> None:
    _write(proc / "7", cgroup="0::/system.slice/dermserve.service")
    _write(
        root / "system.slice" / "dermserve.service",
        memory__max=str(4 * GIB),
        memory__current=str(3 * GIB),
        memory__stat=f"anon 5\ninactive_file {GIB}",
        cpu__max="150000 100000",
    )
    _write(root / "system.slice", memory__max="max", cpu__max="max 100000")
    assert allowance_of(7, proc=proc, root=root) == Allowance(4 * GIB, 2 * GIB, 1.5)


def test_the_tightest_of_those_above_counts(proc: Path, root: Path) -> None:
    _write(proc / "7", cgroup="0::/a/b")
    _write(root / "a" / "b", memory__max=str(8 * GIB), memory__current="1", cpu__max="max 100000")
    _write(root / "a", memory__max=str(2 * GIB), memory__current="2", cpu__max="50000 100000")
    assert allowance_of(7, proc=proc, root=root) == Allowance(2 * GIB, 2, 0.5)


def test_in_a_container_the_path_may_be_the_hosts(proc: Path, root: Path) -> None:
    _write(proc / "7", cgroup="0::/docker/0123")
    _write(root, memory__max=str(GIB), memory__current="1", cpu__max="max 100000")
    assert allowance_of(7, proc=proc, root=root) == Allowance(GIB, 1, None)


def test_version_1(proc: Path, root: Path) -> None:
    _write(proc / "7", cgroup="4:memory:/a\n2:cpuacct:/\n1:cpu:/a\n0::/")
    _write(
        root / "memory" / "a",
        memory__limit_in_bytes=str(GIB),
        memory__usage_in_bytes="100",
        memory__stat="total_inactive_file 40",
    )
    _write(root / "memory", memory__limit_in_bytes=str(2**63 - 4096))
    _write(root / "cpu" / "a", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    _write(root / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert allowance_of(7, proc=proc, root=root) == Allowance(GIB, 60, 2.0)


def test_no_limit(proc: Path, root: Path) -> None:
    _write(proc / "7", cgroup="0::/")
    assert allowance_of(7, proc=proc, root=root) == Allowance()
    assert allowance_of(8, proc=proc, root=root) == Allowance()


def test_this_process_is_looked_at() -> None:
    allowance = allowance_of()
    assert allowance.memory_bytes is None or allowance.memory_bytes > 0
