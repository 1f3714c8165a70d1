"""Hosts on one machine: each has its own network address, processes and shared memory.

They are Linux namespaces joined by a bridge, so that what runs in them are the real programs on
their real ports, and a host can be cut off without anybody being told. Only the disk is one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_NUMBERS = itertools.count(1)

# What Ray and Serve write under fixed names is each host's own.
_OWN_FOLDERS = ("/tmp/ray", "/tmp/haproxy-serve", "/dev/shm")


def why_not() -> str | None:
    """Why there can be no hosts here, in a sentence; None if there can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "namespaces need root"
    name = f"derm{os.getpid()}x"
    try:
        _ip("netns", "add", name)
        try:
            _ip("netns", "exec", name, "unshare", "--mount", "--pid", "--fork", "true")
            _ip("link", "add", f"{name}b", "type", "bridge")
            _ip("link", "del", f"{name}b")
        finally:
            _ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"namespaces are not allowed here: {error.stderr.strip()}"
    return None


class Host:
    """A machine on the network.

    Args:
        name: of its namespace.
        address: IPv4.
        link: the network's end of its cable.
    """

    def __init__(self, name: str, address: str, link: str) -> None:
        self.name = name
        self.address = address
        self._link = link
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: Sequence[str], environment: dict[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Run a program; a second one sees nothing of the first but its sockets."""
        for folder in _OWN_FOLDERS:
            Path(folder).mkdir(exist_ok=True)
        mounts = "; ".join(f"mount -t tmpfs tmpfs {folder}" for folder in _OWN_FOLDERS)
        with log.open("ab") as said:
            process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.name),
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    # The first process takes in whatever is orphaned, which programs do not.
                    *("sh", "-c", f'{mounts}; "$@" & wait $!', "sh"),
                    *command,
                ],
                env=environment,
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Nothing reaches the host or leaves it while the block runs, and nobody is told."""
        _ip("link", "set", self._link, "down")
        try:
            yield
        finally:
            _ip("link", "set", self._link, "up")

    def lose_power(self) -> None:
        """End every process of the host, now."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
        self._running.clear()


class Network:
    """Hosts on one bridge, of which this machine has an address too."""

    def __init__(self, hosts: int) -> None:
        number = next(_NUMBERS)
        tag = f"dm{os.getpid() % 100_000}{number}"
        prefix = f"10.{200 + os.getpid() % 50}.{number}"
        self._bridge = f"{tag}b"
        self.address = f"{prefix}.254"
        """Of this machine."""
        self.hosts: list[Host] = []
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for index in range(1, hosts + 1):
            self.hosts.append(self._add(f"{tag}h{index}", f"{prefix}.{index}", f"{tag}v{index}"))

    def close(self) -> None:
        """End whatever runs on the hosts, and take all of it down."""
        for host in self.hosts:
            host.lose_power()
        for host in self.hosts:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", host.name)
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "del", self._bridge)

    def _add(self, name: str, address: str, link: str) -> Host:
        _ip("netns", "add", name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", link, "master", self._bridge)
        _ip("link", "set", link, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "route", "add", "default", "via", self.address)
        return Host(name, address, link)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
