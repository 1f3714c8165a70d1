"""The processes of the running server on this machine, as the system shows them."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from benchmarks.process_tree import ProcessTree, ProcessUse
from benchmarks.server_roots import ProcessesUnseen
from cluster.doctor.unseen import Unseen
from serve_app.access.reach import is_loopback

CLIENT_SERVER = "client server"
"""Role of what serves Python programs elsewhere (`ray://`, port 10001)."""

_OURS = ("RAY_", "DERMSERVE_", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that takes connections."""

    ip: str
    port: int

    @property
    def is_public(self) -> bool:
        """Whether other machines reach it, as far as no firewall hides it."""
        address = ipaddress.ip_address(self.ip)
        return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


@dataclass(frozen=True)
class ServerProcess:
    """One process of the server."""

    pid: int
    role: str
    """Of a replica the name of its deployment, else as `benchmarks.process_tree` calls it."""
    title: str
    """Its command line."""
    environment: dict[str, str]
    """The variables of Ray and of ours that it was started with."""
    listeners: tuple[Listener, ...] = ()
    peers: tuple[int, ...] = ()
    """Ports of its open connections on the other side."""
    max_open_files: int | None = None
    pss_bytes: int = 0

    @property
    def is_replica(self) -> bool:
        """Whether it is one of Serve's replicas."""
        return self.title.startswith("ray::ServeReplica")


def find_processes(url: str) -> tuple[ServerProcess, ...] | Unseen:
    """All processes of the server that listens at an address of this machine.

    Args:
        url: of the server.
    """
    if not is_loopback(urlsplit(url).hostname or ""):
        return Unseen(
            f"{url} may be another machine. Run the doctor on the server's, and give a URL with "
            "127.0.0.1, to have its processes looked at."
        )
    try:
        uses = ProcessTree.of_url(url).snapshot()
    except ProcessesUnseen as error:
        return Unseen(error.message)
    found = []
    for use in uses:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            found.append(_look(use))
    return (*found, *_client_servers(found))


def _client_servers(processes: Iterable[ServerProcess]) -> list[ServerProcess]:
    """Those of the same cluster; they hang from no process of it."""
    addresses = [re.search(r"--gcs-address=(\S+)", each.title) for each in processes]
    asked = {f"--address={address[1]}" for address in addresses if address}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            command = process.cmdline()
            if "ray.util.client.server" in command and asked & set(command):
                times = process.cpu_times()
                cpu_s = times.user + times.system
                use = ProcessUse(process.pid, process.create_time(), CLIENT_SERVER, cpu_s)
                found.append(_look(use))
    return found


def _look(use: ProcessUse) -> ServerProcess:
    process = psutil.Process(use.pid)
    connections = process.net_connections("inet")
    return ServerProcess(
        pid=use.pid,
        role=use.role,
        title=" ".join(process.cmdline()).strip(),  # Ray pads it
        environment={k: v for k, v in process.environ().items() if k.startswith(_OURS)},
        listeners=tuple(
            sorted(
                {
                    Listener(each.laddr.ip, each.laddr.port)
                    for each in connections
                    if each.status == psutil.CONN_LISTEN
                },
                key=lambda listener: (listener.port, listener.ip),
            )
        ),
        peers=tuple(each.raddr.port for each in connections if each.raddr),
        max_open_files=process.rlimit(psutil.RLIMIT_NOFILE)[0],
        pss_bytes=use.pss_bytes,
    )
