"""A server's roots: the processes on this machine that all of its others descend from."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import urlsplit

import psutil

from benchmarks.wrk import LoadFailed

_SESSION = re.compile(r"session_\d{4}-\d\d-\d\d_[\d_-]+")


class ProcessesUnseen(LoadFailed):
    """A server's processes cannot be found, or may not be looked at."""

    code = "processes_unseen"


def server_roots(url: str) -> list[int]:
    """Those of the server that listens at an address of this machine.

    Behind a port of Ray Serve stands a whole Ray session. Of any other server it is the
    process that listens.

    Raises:
        ProcessesUnseen: if none listens here that belongs to this user.
    """
    port = urlsplit(url).port or 80
    owners = _listeners(port)
    if not owners:
        raise ProcessesUnseen(
            f"No process of yours listens on port {port} of this machine. Run this beside the "
            "server, as the same user."
        )
    roots = set[int]()
    for owner in owners:
        raylet = _raylet_above(owner)
        roots |= {owner.pid} if raylet is None else _session_of(raylet)
    return sorted(roots)


def _listeners(port: int) -> list[psutil.Process]:
    """This user's processes that listen on a port; root sees those of all."""
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and tuple(connection.laddr)[1:] == (port,)
        and connection.pid is not None  # another user's
    }
    # A child that inherited the socket comes with its parent.
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            process = psutil.Process(pid)
            if not any(parent.pid in pids for parent in process.parents()):
                found.append(process)
    return found


def _raylet_above(process: psutil.Process) -> psutil.Process | None:
    return next((each for each in process.parents() if each.name() == "raylet"), None)


def _session_of(raylet: psutil.Process) -> set[int]:
    """The processes that a Ray session on this machine hangs from."""
    found = _SESSION.search(" ".join(raylet.cmdline()))
    if found is None:
        raise ProcessesUnseen(f"Process {raylet.pid} is a raylet of no Ray session.")
    members = {raylet.pid}
    parents = {raylet.ppid()}
    for process in psutil.process_iter():
        try:
            if found.group() in " ".join(process.cmdline()):
                members.add(process.pid)
                if process.name() == "gcs_server":
                    parents.add(process.ppid())
        except psutil.Error:
            continue
    # `dermserve up` is the parent of both; `ray start` leaves its children to the init process.
    if len(parents) == 1 and (parent := parents.pop()) > 1:
        members.add(parent)
    return members
