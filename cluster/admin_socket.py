"""HAProxy's administration socket: questions to a running HAProxy on this machine."""

from __future__ import annotations

import csv
import socket
from pathlib import Path

_TIMEOUT_S = 5.0
_PROMPT = b"\n> "


class AdminSocket:
    """One connection, which stays open also while HAProxy takes no new ones; a context manager.

    Args:
        path: of the socket.

    Raises:
        OSError: if nobody answers; so does every question.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_TIMEOUT_S)
            self._socket.connect(str(path))
            self._ask("prompt")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> AdminSocket:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def pid(self) -> int:
        """Of HAProxy."""
        info = dict(line.partition(": ")[::2] for line in self._ask("show info").splitlines())
        return int(info["Pid"])

    def under_way(self) -> int:
        """Requests that the servers behind it have, or that wait for one."""
        table = self._ask("show stat").removeprefix("# ")
        rows = csv.DictReader(table.splitlines())
        return sum(int(row["scur"] or 0) for row in rows if row["svname"] == "BACKEND")

    def _ask(self, command: str) -> str:
        self._socket.sendall(f"{command}\n".encode())
        answer = b""
        while not answer.endswith(_PROMPT):
            if not (part := self._socket.recv(1 << 16)):
                raise ConnectionResetError("HAProxy has ended")
            answer += part
        return answer.decode().removesuffix(_PROMPT.decode())
