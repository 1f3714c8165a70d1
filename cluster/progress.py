"""Progress: a bar on standard error while files are worked through."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], object]]:
    """A bar, if standard error is a terminal, for as long as the block runs.

    Args:
        total: files.
        what: is done with them.

    Yields:
        A function that is to be called with the number of files that are done since the last call.
    """
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.advance(task, done)
