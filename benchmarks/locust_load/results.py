"""The results of a load report: its steps, and what was loaded with what."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.locust_load.step import Step


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Server(_Frozen):
    """The server under load, in its own words."""

    version: str
    model_version: str
    engine: str
    precision: str
    data_path: dict[str, str]


class Generator(_Frozen):
    """What loaded it."""

    locust: str
    """Its version."""
    processor: str
    cores: int
    """That this process may use."""
    same_machine: bool
    """Whether the server ran on these cores too."""
    images: int
    mean_image_bytes: float
    synthetic: bool
    spawn_rate: float
    run_time_s: int


class LoadResults(_Frozen):
    """`overview.json`: all that the page, the tables and the figure are made of."""

    created: datetime
    server: Server
    generator: Generator
    steps: tuple[Step, ...]


def processor() -> str:
    """What the machine calls its processor."""
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
