"""CPU time and memory of a server's processes, by what each is for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated

import psutil
import typer
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from benchmarks.command import run
from benchmarks.screen import screen
from benchmarks.server_roots import ProcessesUnseen, server_roots

MIB = 2**20

_REPLICA = re.compile(r"ray::ServeReplica:[^:]*:([^.\s]+)")
_ACTOR = re.compile(r"ray::([\w-]+)")

_ACTORS = {
    "ServeController": "controller",
    "ProxyActor": "proxy",
    "HAProxyManager": "haproxy manager",
    "DashboardAgent": "agents",
    "RuntimeEnvAgent": "agents",
    "IDLE": "idle workers",
}
_PROGRAMS = {
    "haproxy": "haproxy",
    "raylet": "raylet",
    "gcs_server": "gcs",
    "dashboard.py": "dashboard",
    "monitor.py": "monitors",
    "log_monitor.py": "monitors",
    "dermserve": "dermserve up",
    "cluster": "dermserve up",  # python -m cluster
}
_ORDER = ["haproxy", "ingress", "preprocessor", "classifier", "explainer", "archive", "trainer"]


class RoleMemory(BaseModel):
    """Memory of the processes of one role."""

    model_config = ConfigDict(frozen=True)

    processes: int
    uss_bytes: int
    """Their own alone: what their end would free."""
    pss_bytes: int
    """The same, with their shares of what they have in common with others."""


@dataclass(frozen=True)
class ProcessUse:
    """One process at one moment."""

    pid: int
    created: float
    """Its start in seconds; tells it from an earlier process of the same number."""
    role: str
    cpu_s: float
    """Since its start, user and system."""
    uss_bytes: int = 0
    pss_bytes: int = 0


Snapshot = tuple[ProcessUse, ...]


def role_of(command: list[str]) -> str | None:
    """What a process is for, from its command line; None if that does not say."""
    title = " ".join(command).strip()
    if found := _REPLICA.match(title):
        return found.group(1)
    if found := _ACTOR.match(title):
        return _ACTORS.get(found.group(1), found.group(1))
    if title.startswith("ray-dashboard-"):
        return "dashboard"
    for word in command:
        if not word.startswith("-"):
            name = PurePath(word).name
            if name in _PROGRAMS:
                return _PROGRAMS[name]
            if not name.startswith("python"):
                return None  # only the program counts, not what it is told
    return None


def cpu_between(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """CPU seconds that each role used between two snapshots.

    What a process used that ended in between is not known; one that began counts whole.
    """
    earlier = {(use.pid, use.created): use.cpu_s for use in before}
    seconds: dict[str, float] = {}
    for use in after:
        spent = use.cpu_s - earlier.get((use.pid, use.created), 0.0)
        seconds[use.role] = seconds.get(use.role, 0.0) + spent
    return seconds


def memory_by_role(snapshot: Snapshot) -> dict[str, RoleMemory]:
    """Memory of each role, in the order of `ordered`."""
    roles = ordered(use.role for use in snapshot)
    grouped = {role: [use for use in snapshot if use.role == role] for role in roles}
    return {
        role: RoleMemory(
            processes=len(uses),
            uss_bytes=sum(use.uss_bytes for use in uses),
            pss_bytes=sum(use.pss_bytes for use in uses),
        )
        for role, uses in grouped.items()
    }


def ordered(roles: Iterable[str]) -> list[str]:
    """Roles without repetition: those that a request meets first, the others by name."""
    known = {role: place for place, role in enumerate(_ORDER)}
    return sorted(set(roles), key=lambda role: (known.get(role, len(known)), role))


def pss_bytes(snapshot: Snapshot) -> int:
    """Memory of all processes together; what they share counts once."""
    return sum(use.pss_bytes for use in snapshot)


class ProcessTree:
    """The processes of one server: some that are known, and all that descend from them."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = tuple(roots)

    @classmethod
    def of_url(cls, url: str) -> ProcessTree:
        """All of the server that listens at an address of this machine.

        Raises:
            ProcessesUnseen: if none listens here that belongs to this user.
        """
        return cls(server_roots(url))

    def snapshot(self, *, memory: bool = True) -> Snapshot:
        """What its processes have used.

        Args:
            memory: False leaves it 0, which is faster.

        Raises:
            ProcessesUnseen: if a process may not be looked at, or none is left.
        """
        uses: dict[int, ProcessUse] = {}
        for root in self._roots:
            try:
                process = psutil.Process(root)
                # Parents come before their children.
                family = [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            roles: dict[int, str] = {}
            for each in family:
                use = _use(each, roles, memory=memory)
                if use is not None:
                    uses.setdefault(use.pid, use)
        if not uses:
            raise ProcessesUnseen(
                "The server's processes have ended. Start it again with make serve."
            )
        return tuple(uses.values())


def _use(process: psutil.Process, roles: dict[int, str], *, memory: bool) -> ProcessUse | None:
    """What one process has used; None if it has ended. Its role is noted for its children."""
    try:
        with process.oneshot():
            parent = roles.get(process.ppid())
            role = role_of(process.cmdline()) or parent or process.name()
            roles[process.pid] = role
            times = process.cpu_times()
            used = process.memory_full_info() if memory else None
            return ProcessUse(
                pid=process.pid,
                created=process.create_time(),
                role=role,
                cpu_s=times.user + times.system,
                uss_bytes=used.uss if used else 0,
                pss_bytes=used.pss if used else 0,
            )
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied as error:
        raise ProcessesUnseen(
            f"Process {process.pid} of the server may not be looked at. Run this as the user "
            "who runs the server."
        ) from error


def memory_table(memory: Mapping[str, RoleMemory]) -> Table:
    """Roles, their memory, and the sum."""
    table = Table("role", "processes", "USS MiB", "PSS MiB")
    for role, each in memory.items():
        table.add_row(role, *_cells(each))
    total = RoleMemory(
        processes=sum(each.processes for each in memory.values()),
        uss_bytes=sum(each.uss_bytes for each in memory.values()),
        pss_bytes=sum(each.pss_bytes for each in memory.values()),
    )
    table.add_section()
    table.add_row("all", *_cells(total))
    return table


def _cells(memory: RoleMemory) -> list[str]:
    sizes = (memory.uss_bytes, memory.pss_bytes)
    return [str(memory.processes), *(f"{size / MIB:.0f}" for size in sizes)]


def main(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
) -> None:
    """Print the memory of a running server's processes.

    Example: python -m benchmarks.process_tree
    """
    snapshot = ProcessTree.of_url(url).snapshot()
    screen().print(memory_table(memory_by_role(snapshot)))


if __name__ == "__main__":
    run(main)
