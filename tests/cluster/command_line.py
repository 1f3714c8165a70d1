"""The command line as a shell sees it: what it prints where, and its exit code."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cluster.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process.

    Args:
        capture: of pytest.
    """

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object) -> Ended:
        """Run `dermserve` with some arguments."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as raised:
            main([str(each) for each in arguments])
        out, err = self._capture.readouterr()
        code = raised.value.code
        return Ended(0 if code is None else int(code), out, err)
