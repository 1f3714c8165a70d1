"""The console of a benchmark, wide enough for its tables also where they go into a file."""

from __future__ import annotations

from rich.console import Console

_WIDTH_IN_A_FILE = 160  # characters; a terminal has its own


def screen() -> Console:
    """A console on standard output."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH_IN_A_FILE)
    return console
