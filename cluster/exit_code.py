"""Exit codes: what a script learns of a command without reading what it says."""

from __future__ import annotations

from enum import IntEnum

from models.errors import DermServeError


class ExitCode(IntEnum):
    """How a command ended; `EXIT_CODES` says it in words."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_SERVER = 3
    NO_ACCESS = 4
    REFUSED = 5
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "all done",
    ExitCode.FAILED: "not all done: a file failed, a check found something, or what stderr says",
    ExitCode.USAGE: "the command cannot be carried out as it was typed",
    ExitCode.NO_SERVER: "no server answers, or none runs",
    ExitCode.NO_ACCESS: "the server refuses the API key, or wants one",
    ExitCode.REFUSED: "the server refuses, or cannot do it now",
    ExitCode.INTERRUPTED: "interrupted",
}

EXIT_CODES = "Exit codes: " + "; ".join(f"{code:d} {MEANINGS[code]}" for code in ExitCode) + "."


class CommandFailed(DermServeError):
    """A command cannot go on.

    Args:
        message: as for all errors.
        exit_code: of the process.
    """

    code = "command_failed"

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def usage_error(message: str) -> CommandFailed:
    """What was typed makes no sense."""
    return CommandFailed(message, ExitCode.USAGE)
