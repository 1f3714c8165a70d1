"""The control group of a process: what a container or systemd lets it have of the machine."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_NO_LIMIT_BYTES = 1 << 60
"""Version 1 writes a number near 2^63 where there is no limit."""


@dataclass(frozen=True)
class Allowance:
    """The tightest limits on the way from a process's group to the root; None is no limit."""

    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    """Of the group with the tightest limit, without what the kernel would give up at once."""
    cpus: float | None = None


def allowance_of(
    pid: int | None = None, *, proc: Path = Path("/proc"), root: Path = Path("/sys/fs/cgroup")
) -> Allowance:
    """What a process may use.

    Args:
        pid: of the process; None is this one.
        proc: where the system shows its processes.
        root: where it shows control groups, of version 1, 2 or both.
    """
    try:
        lines = (proc / str(pid or os.getpid()) / "cgroup").read_text().splitlines()
    except OSError:
        return Allowance()
    allowances = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            allowances.append(_version_2(root, path))
        elif "memory" in controllers.split(","):
            allowances.append(_memory_1(root / "memory", path))
        elif "cpu" in controllers.split(","):
            allowances.append(_cpu_1(root / "cpu", path))
    return _tightest(allowances)


def _tightest(allowances: list[Allowance]) -> Allowance:
    limited = [each for each in allowances if each.memory_bytes is not None]
    memory = min(limited, key=lambda each: each.memory_bytes or 0, default=Allowance())
    cpus = [each.cpus for each in allowances if each.cpus is not None]
    return Allowance(memory.memory_bytes, memory.memory_used_bytes, min(cpus, default=None))


def _version_2(root: Path, path: str) -> Allowance:
    found = []
    for group in _groups(root, path):
        quota = (_text(group / "cpu.max") or "max").split()
        memory = _number(group / "memory.max")
        found.append(
            Allowance(
                memory,
                None if memory is None else _used(group, "memory.current", "inactive_file"),
                int(quota[0]) / int(quota[1]) if quota[0] != "max" else None,
            )
        )
    return _tightest(found)


def _memory_1(root: Path, path: str) -> Allowance:
    found = []
    for group in _groups(root, path):
        limit = _number(group / "memory.limit_in_bytes")
        if limit is not None and limit < _NO_LIMIT_BYTES:
            used = _used(group, "memory.usage_in_bytes", "total_inactive_file")
            found.append(Allowance(limit, used))
    return _tightest(found)


def _cpu_1(root: Path, path: str) -> Allowance:
    found = []
    for group in _groups(root, path):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            found.append(Allowance(cpus=quota / period))
    return _tightest(found)


def _groups(root: Path, path: str) -> list[Path]:
    """A group and those above it. In a container the path may be the host's, and not be here."""
    group = root / path.lstrip("/")
    return [each for each in (group, *group.parents) if each == root or root in each.parents]


def _used(group: Path, file: str, inactive: str) -> int | None:
    used = _number(group / file)
    if used is None:
        return None
    for line in (_text(group / "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name == inactive:
            return max(0, used - int(value))
    return used


def _number(path: Path) -> int | None:
    text = _text(path)
    if text is None or text == "max":
        return None
    with contextlib.suppress(ValueError):
        return int(text)
    return None


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return None
