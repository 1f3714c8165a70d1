"""nvJPEG beside the decoder that serving has: how fast each is, and whether their pixels agree."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.calling_rate import calling_rate
from benchmarks.gpu_rates.results import Agreement, Decoding
from models.preprocessing import decode_image
from serve_app.engines.base import Engine
from serve_app.engines.nvjpeg import NvjpegDecoder

Pixels = npt.NDArray[np.uint8]


def compare_decoders(
    jpegs: Sequence[bytes], engine: Engine, *, batch: int, rounds: int, seconds: float
) -> Decoding:
    """Measure both in alternation, then let an engine say what it makes of their pixels.

    Args:
        jpegs: that nvJPEG decodes; at least one.
        engine: any.
        batch: JPEGs in one list for nvJPEG.
        rounds: at least 1.
        seconds: of one measurement.
    """
    decoder = NvjpegDecoder()
    cores = len(os.sched_getaffinity(0))
    on_gpu = partial(_decode_list, decoder, itertools.cycle(jpegs), batch)
    on_cpu: list[Callable[[], int]] = [
        partial(_decode_one, itertools.cycle(jpegs)) for _ in range(cores)
    ]
    on_gpu()  # warm-up
    nvjpeg, cpu = [], []
    for _ in range(rounds):
        nvjpeg.append(calling_rate([on_gpu], seconds))
        cpu.append(calling_rate(on_cpu, seconds))
    ours = np.stack([decoder.decode([jpeg])[0].cpu().numpy() for jpeg in jpegs])
    theirs = np.stack([decode_image(jpeg) for jpeg in jpegs])
    return Decoding(
        batch=batch,
        nvjpeg_per_s=tuple(nvjpeg),
        cpu_per_s=tuple(cpu),
        cores=cores,
        agreement=agreement(ours, theirs, engine),
    )


def agreement(ours: Pixels, theirs: Pixels, engine: Engine) -> Agreement:
    """Compare pixels of the same images, and what an engine says of them.

    Args:
        ours: shape (images, 224, 224, 3), at least one.
        theirs: the same images by the training contract.
        engine: any.
    """
    differences = np.abs(ours.astype(np.int16) - theirs).mean(axis=(1, 2, 3))
    said, expected = engine.forward(list(ours)).logits, engine.forward(list(theirs)).logits
    return Agreement(
        images=len(ours),
        mean_difference=float(differences.mean()),
        worst_difference=float(differences.max()),
        same_class=float((said.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        logit_difference=float(np.abs(said - expected).max()),
    )


def _decode_list(decoder: NvjpegDecoder, jpegs: itertools.cycle[bytes], batch: int) -> int:
    return len(decoder.decode(list(itertools.islice(jpegs, batch))))


def _decode_one(jpegs: itertools.cycle[bytes]) -> int:
    decode_image(next(jpegs))
    return 1
