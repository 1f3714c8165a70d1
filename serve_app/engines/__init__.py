"""Inference engines: one file each, behind one small protocol, chosen by what the machine has."""

from __future__ import annotations

import importlib.util
import sys
from typing import Literal, get_args

from models.errors import InvalidConfiguration
from models.package import ModelPackage
from serve_app.engines.base import Engine

EngineName = Literal["auto", "openvino", "torch-cuda", "torch-cpu"]


def create_engine(
    package: ModelPackage, name: EngineName = "auto", *, threads: int = 1, max_batch: int = 32
) -> Engine:
    """Load a model package into an engine.

    Args:
        package: verified files of the model.
        name: `auto` takes CUDA if this process sees a GPU, else OpenVINO if it is
            installed, else torch on the CPU.
        threads: CPU cores a CPU engine may keep busy; at least 1.
        max_batch: largest batch of a GPU engine; a CPU engine knows its own.

    Raises:
        InvalidConfiguration: if the name is unknown, or the engine named cannot run here.
        InvalidPackage: if the package lacks what the engine needs.
    """
    if name == "auto":
        name = _best_engine()
    # Each engine imports its own framework, so that a replica carries only one.
    if name == "openvino":
        from serve_app.engines.openvino_cpu import OpenVinoEngine

        return OpenVinoEngine(package, threads)
    if name == "torch-cuda":
        from serve_app.engines.torch_cuda import TorchCudaEngine

        return TorchCudaEngine(package, max_batch)
    if name == "torch-cpu":
        from serve_app.engines.torch_cpu import TorchCpuEngine

        return TorchCpuEngine(package, threads)
    raise InvalidConfiguration(
        f"There is no engine {name!r}. Choose one of {', '.join(get_args(EngineName))}."
    )


def _best_engine() -> EngineName:
    if _sees_gpu():
        return "torch-cuda"
    return "openvino" if importlib.util.find_spec("openvino") else "torch-cpu"


def _sees_gpu() -> bool:
    """Whether Ray gave this process a GPU, found out without importing torch, or Ray itself."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized() and ray.get_gpu_ids())
