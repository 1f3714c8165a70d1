"""Processes that do something to one catalogue at the same moment, or die while they do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.conftest import PROJECT

_PREAMBLE = """
import sys
from data.catalogue.database import Database

def say(word):
    print(word, flush=True)

def wait():
    sys.stdin.readline()

url, *arguments = sys.argv[1:]
"""


@contextmanager
def process(script: str, url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script that has `Database`, `url`, `arguments`, `say` and `wait`.

    It is killed in the end.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", _PREAMBLE + script, url, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def read_line(child: subprocess.Popen[str]) -> str:
    """The next line that a process says; "" if it has ended."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go_on(child: subprocess.Popen[str]) -> None:
    """End the `wait` of a process."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def at_once(script: str, url: str, arguments: Sequence[Sequence[str]]) -> list[str]:
    """Run a script in several processes that begin together; what each of them says.

    Args:
        script: the work of one process: it says "ready", waits, and says one line.
        url: of the catalogue.
        arguments: for each process.
    """
    with ExitStack() as stack:
        children = [stack.enter_context(process(script, url, *each)) for each in arguments]
        for child in children:
            assert read_line(child) == "ready"
        for child in children:
            go_on(child)
        said = [read_line(child) for child in children]
        assert [child.wait(timeout=60) for child in children] == [0] * len(children)
        return said
