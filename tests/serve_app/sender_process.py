"""A sender in a process of its own, which a test may kill."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from serve_app.shared_memory import NotShared, Place, SharedFile, SharedFiles


def _serve(connection: Connection) -> None:
    """Do what the test says until it hangs up."""
    files = SharedFiles()
    file = SharedFile()
    while True:
        try:
            action, argument = connection.recv()
        except EOFError:
            return
        answer: Any = None
        try:
            if action == "write":
                answer = file.write(argument)
            elif action == "lend":
                with files.lend() as lent:
                    answer = lent.write(argument)
            elif action == "replace":
                file.close()
                file = SharedFile()  # the lowest free descriptor, so the same
                answer = file.write(argument)
            else:
                resource.setrlimit(action, (argument, resource.getrlimit(action)[1]))
        except NotShared as error:
            answer = error
        connection.send(answer)


class SenderProcess:
    """Started afresh, so that nothing but messages is shared with it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def write(self, payloads: Sequence[bytes]) -> Place:
        """Into its one file."""
        return self._place("write", payloads)

    def lend(self, payloads: Sequence[bytes]) -> Place:
        """Into a file that is free again at once."""
        return self._place("lend", payloads)

    def replace(self, payloads: Sequence[bytes]) -> Place:
        """Into a new file in place of its one file."""
        return self._place("replace", payloads)

    def limit(self, resource_number: int, limit: int) -> None:
        """Have the system grant it no more, of a number as `resource` has it."""
        self._ask(resource_number, limit)

    def kill(self) -> None:
        """As the system does when memory is short; its parent has not noticed yet."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        self._connection.close()
        self._process.join(30)
        self._process.close()

    def _place(self, action: str, payloads: Sequence[bytes]) -> Place:
        place = self._ask(action, payloads)
        assert isinstance(place, Place)
        return place

    def _ask(self, action: str | int, argument: Any) -> Any:
        self._connection.send((action, argument))
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer
