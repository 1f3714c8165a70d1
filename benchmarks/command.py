"""A benchmark as a command of its own: `python -m benchmarks.NAME`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import httpx
import typer
from rich.console import Console

from models.errors import DermServeError


def run(benchmark: Callable[..., None]) -> None:
    """Run it with the command line's options; an error of ours is one sentence, no traceback."""
    try:
        typer.run(benchmark)
    except DermServeError as error:
        _say(error.message)
    except httpx.HTTPError as error:
        _say(f"The server does not answer ({error}). Start it with make serve, or correct --url.")


def _say(message: str) -> None:
    Console(stderr=True).print(f"Error: {message}", markup=False, soft_wrap=True)
    sys.exit(1)
