"""The settings of the peers: all that is not left as it comes, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

CORES: Literal["cores"] = "cores"
"""Stands for the number of cores."""

Value = int | float | bool | str | dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One argument of a peer's own interface."""

    of: str
    """What takes it."""
    name: str
    value: Value
    why: str


_SILENT = "no server of the comparison writes a line for each request"
_EVERY_CORE = "every core infers, one thread each, as the documentation advises for CPUs"
_NO_BATCHES = (
    "one image at a time is the fastest on CPU cores with either engine, and a batch would be "
    "waited for"
)

SETTINGS: dict[str, tuple[Setting, ...]] = {
    "mosec": (
        Setting("append_worker", "num", CORES, _EVERY_CORE),
        Setting("append_worker", "max_batch_size", 1, f"its default; {_NO_BATCHES}"),
        Setting("command", "log-level", "warning", _SILENT),
    ),
    "litserve": (
        Setting("LitAPI", "max_batch_size", 1, f"its default; {_NO_BATCHES}"),
        Setting("LitServer", "accelerator", "cpu", "no GPU takes part"),
        Setting("LitServer", "workers_per_device", CORES, _EVERY_CORE),
        Setting("LitServer", "fast_queue", True, "for more than 100 requests/s"),
        Setting("run", "log_level", "warning", _SILENT),
    ),
    "bentoml": (
        Setting("service", "workers", CORES, _EVERY_CORE),
        Setting("service", "logging", {"access": {"enabled": False}}, _SILENT),
    ),
    "fastapi": (
        Setting("uvicorn", "workers", CORES, _EVERY_CORE),
        Setting("uvicorn", "access_log", False, _SILENT),
    ),
    "ray-serve": (
        Setting("deployment", "num_replicas", CORES, _EVERY_CORE),
        Setting("deployment", "max_ongoing_requests", 20, "two full batches, as is advised"),
        Setting("batch", "max_batch_size", 10, "its default"),
        Setting("batch", "batch_wait_timeout_s", 0.01, "its default"),
        Setting("logging", "enable_access_log", False, _SILENT),
    ),
    "triton": (
        Setting("instance_group", "count", CORES, _EVERY_CORE),
        Setting("model", "max_batch_size", 1, f"without dynamic batching; {_NO_BATCHES}"),
    ),
}


def options(peer: str, of: str, *, cores: int) -> dict[str, Any]:
    """Keyword arguments for what a setting is of."""
    return {
        setting.name: cores if setting.value == CORES else setting.value
        for setting in SETTINGS[peer]
        if setting.of == of
    }
