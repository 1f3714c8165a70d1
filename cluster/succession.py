"""Succession: what a HAProxy takes over from the one before it on the same node.

Ray's manager of HAProxy may be lost, and HAProxy with it or not. The manager that follows starts
a HAProxy whose first configuration knows no application yet, and which cannot listen where one
that is left still does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.admin_socket import AdminSocket

LAST = "edge.last.cfg"
"""The last configuration with an application, beside the one that Ray writes."""

_SOCKET = re.compile(r"(?m)^ *stats socket (\S+)")
_APPLICATION = re.compile(r"(?m)^backend http-")


@dataclass(frozen=True)
class Predecessor:
    """A HAProxy that listens on this node."""

    pid: int
    socket: str
    """Path of its administration socket."""

    @property
    def arguments(self) -> list[str]:
        """With which another takes its sockets over, has it finish its requests and end."""
        return ["-sf", str(self.pid), "-x", self.socket]


def predecessor_of(configuration: str) -> Predecessor | None:
    """The HAProxy that answers where one with this configuration would; None if none does."""
    found = _SOCKET.search(configuration)
    if found is None:
        return None
    try:
        with AdminSocket(Path(found[1])) as admin:
            return Predecessor(admin.pid(), found[1])
    except OSError:
        return None


def remember(configuration: str, folder: Path) -> None:
    """Keep a configuration for `inherited`, if it has an application."""
    if _APPLICATION.search(configuration):
        (folder / LAST).write_text(configuration)


def inherited(configuration: str, folder: Path) -> str:
    """What to begin with: the last configuration where this one has no application yet."""
    last = folder / LAST
    if _APPLICATION.search(configuration) or not last.exists():
        return configuration
    return last.read_text()
