"""The bare limit: decode and forward in a loop, one process a core, no server around them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from models.package import ModelPackage
from models.preprocessing import decode_image
from models.registry_process import resolve
from serve_app.engines import EngineName, create_engine
from serve_app.engines.base import warm_up


def bare_limit(
    files: Sequence[Path],
    seconds: float,
    *,
    processes: int | None = None,
    engine: EngineName = "auto",
) -> float:
    """Images a second that the machine decodes and classifies with the server's own code.

    Args:
        files: encoded images, read once before the clock starts.
        seconds: length of the measurement.
        processes: with one inference thread each; None takes one for each core.
        engine: as in `ServeSettings`.
    """
    count = processes or len(os.sched_getaffinity(0))
    bodies = [path.read_bytes() for path in files]
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(count)
    with context.Pool(count, _share, (start,)) as pool:
        done = pool.starmap(_loop, [(bodies, seconds, engine)] * count, chunksize=1)
    return sum(done) / seconds


_start: Barrier


def _share(start: Barrier) -> None:
    global _start
    _start = start


def _loop(bodies: list[bytes], seconds: float, name: EngineName) -> int:
    engine = create_engine(ModelPackage.load(resolve("champion")), name, threads=1)
    warm_up(engine)
    _start.wait()
    done = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        engine.forward([decode_image(bodies[done % len(bodies)])])
        done += 1
    return done
