"""The reference of the comparison: what each engine says of some images without a server."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.model import PeerModel
from benchmarks.peers.task import PeerEngine
from models.package import ModelPackage
from models.registry_process import resolve
from serve_app.engines import create_engine

Rows = list[list[float]]


class Device(NamedTuple):
    """What the OpenVINO engine runs on."""

    name: str
    precision: str


@dataclass(frozen=True)
class Reference:
    """Some of the images, and the probabilities of each engine.

    The engines have their own: OpenVINO in bf16 and torch in float32 differ by up to 0.15 in a
    probability that is near a half.
    """

    bodies: tuple[bytes, ...]
    rows: Mapping[PeerEngine, Rows]
    device: Device

    @classmethod
    def of(cls, files: Sequence[Path], engines: Sequence[PeerEngine]) -> Reference:
        """Ask the engines, in a process that does not outlive the question."""
        bodies = tuple(path.read_bytes() for path in files)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            rows = {engine: pool.submit(_rows, engine, bodies).result() for engine in engines}
            device = pool.submit(_device).result()
        return cls(bodies, rows, device)

    def expected(self, engine: PeerEngine) -> Rows:
        """Probabilities of each image, in the order of `CLASSES`."""
        return self.rows[engine]


def _rows(engine: PeerEngine, bodies: Sequence[bytes]) -> Rows:
    model = PeerModel.load(engine)
    return [model.probabilities([model.decode(body)])[0].tolist() for body in bodies]


def _device() -> Device:
    info = create_engine(ModelPackage.load(resolve("champion")), "openvino").info
    return Device(info.device, info.precision)
