"""The entries of the comparison: our server, and its peers by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.peers.answer import Reader, read_json, read_triton
from benchmarks.peers.task import PeerEngine, PeerTask
from models.errors import InvalidConfiguration

_TREE = Path(__file__).parents[2]

Command = Callable[[Path, PeerTask, int], list[str]]
"""From the peers' interpreter, the task, and a second free port."""


@dataclass(frozen=True)
class Entry:
    """One server with one engine."""

    name: str
    command: Command
    path: str
    """That images are posted to."""
    engine: PeerEngine = "openvino"
    ours: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    """That each request needs besides its Content-Type."""
    read: Reader = read_json

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name if self.engine == "openvino" else f"{self.name}, torch eager"


def _ours(config: str) -> Command:
    def command(python: Path, task: PeerTask, spare_port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "cluster", "up", "--config", str(_TREE / config)),
            *("--port", str(task.port), "--dashboard-port", str(spare_port)),
        ]

    return command


def _peer(module: str) -> Command:
    def command(python: Path, task: PeerTask, spare_port: int) -> list[str]:
        return [str(python), "-m", f"benchmarks.peers.{module}"]

    return command


ENTRIES = (
    Entry("dermserve", _ours("serve_config.yaml"), "/predict", ours=True),
    Entry("dermserve-colocated", _ours("configs/colocated.yaml"), "/predict", ours=True),
    Entry("mosec", _peer("mosec_server"), "/inference"),
    Entry("litserve", _peer("litserve_server"), "/predict"),
    Entry("bentoml", _peer("bentoml_server"), "/predict"),
    Entry("fastapi", _peer("fastapi_server"), "/predict"),
    Entry("ray-serve", _peer("ray_server"), "/"),
    Entry(
        "triton",
        _peer("triton_server"),
        "/v2/models/lesions/infer",
        # The whole body is the image; there is no JSON before it.
        headers={"Inference-Header-Content-Length": "0"},
        read=read_triton,
    ),
)
NAMES = tuple(entry.name for entry in ENTRIES)


def entries(names: Sequence[str], engines: Sequence[PeerEngine]) -> list[Entry]:
    """The entries of some names, with each engine; ours have theirs.

    Raises:
        InvalidConfiguration: if there is no such name.
    """
    for name in names:
        if name not in NAMES:
            raise InvalidConfiguration(
                f"There is no server {name!r} to compare. Choose from {', '.join(NAMES)}."
            )
    return [
        replace(entry, engine=engine)
        for engine in engines
        for entry in ENTRIES
        if entry.name in names and (engine == "openvino" or not entry.ours)
    ]
