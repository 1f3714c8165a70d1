"""A worker that keeps the inputs which reach new lines of Python, and mutates those (atheris).

Pillow's readers of files are instrumented, and everything of ours. C code is not: for that it would
have to be built for fuzzing, with all its libraries.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["PIL", "models", "data", "serve_app", "python_multipart"]):
    from tests.fuzzing.mutation import MAX_BYTES, mutate
    from tests.fuzzing.targets import TARGETS
    from tests.fuzzing.worker import Worker, limit_memory

_REPORT_S = 0.5
# Signals are left to the system, so that a crash looks as it does without libFuzzer.
_LEFT = ("segv", "bus", "abrt", "ill", "fpe", "xfsz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=TARGETS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    target = TARGETS[arguments.target]
    seeds = list(target.seeds().values())
    limit_memory()
    worker = Worker(target, arguments.target, arguments.folder, arguments.seed)
    started = reported = time.process_time()

    def give(data: bytes) -> None:
        nonlocal reported
        worker.give(data)
        now = time.process_time()
        over = now - started > arguments.seconds
        if over or now - reported > _REPORT_S:
            reported = now
            print(json.dumps(worker.report()), flush=True)
        if over:
            os._exit(0)  # libFuzzer would run on

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.3:
            return atheris.Mutate(data, max_size)
        return mutate(data or seeds[0], random.choice(seeds), random)[:max_size]

    with tempfile.TemporaryDirectory() as corpus:
        for index, data in enumerate(seeds):
            (Path(corpus) / str(index)).write_bytes(data)
        options = [f"-seed={arguments.seed}", f"-max_len={MAX_BYTES}", "-rss_limit_mb=0"]
        options += [*(f"-handle_{name}=0" for name in _LEFT)]
        atheris.Setup([sys.argv[0], *options, corpus], give, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
