"""Triton: NVIDIA's server with its Python backend, out of the wheel of nvidia-pytriton."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.settings import options
from benchmarks.peers.task import PeerTask
from models.errors import InvalidConfiguration

MODEL = "lesions"

_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {max_batch_size}
input [{{ name: "image" data_type: TYPE_UINT8 dims: [-1] }}]
output [{{ name: "probabilities" data_type: TYPE_FP32 dims: [7] }}]
instance_group [{{ kind: KIND_CPU count: {count} }}]
"""


def model_repository(folder: Path, settings: dict[str, Any]) -> Path:
    """Write what Triton loads."""
    version = folder / MODEL / "1"
    version.mkdir(parents=True)
    (folder / MODEL / "config.pbtxt").write_text(_CONFIG.format(name=MODEL, **settings))
    (version / "model.py").write_text(
        "from benchmarks.peers.triton_model import TritonPythonModel\n"
    )
    return folder


def backends(folder: Path, wheel: Path) -> Path:
    """Put the Python backend together with the stub of this Python's version.

    Raises:
        InvalidConfiguration: if the wheel has none.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise InvalidConfiguration(
            f"The wheel of nvidia-pytriton has no stub for Python {version}."
        )
    shutil.copytree(wheel / "backends" / "python", folder / "python")
    shutil.copy2(stub, folder / "python")
    return folder


def main() -> None:
    """Become the server, which answers at /v2/models/lesions/infer."""
    task = PeerTask.given()
    package = importlib.util.find_spec("pytriton")
    if package is None or not package.submodule_search_locations:
        raise InvalidConfiguration("nvidia-pytriton is not installed in the peers' environment.")
    wheel = Path(package.submodule_search_locations[0]) / "tritonserver"
    scratch = Path(tempfile.mkdtemp(prefix="triton-"))
    settings = {**options("triton", "model", cores=task.cores)}
    settings |= options("triton", "instance_group", cores=task.cores)
    repository = model_repository(scratch / "models", settings)
    binary = wheel / "bin" / "tritonserver"
    # The stub finds its Python, and with it the environment, on the PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    libraries = [str(wheel / "external_libs"), str(wheel.parents[1] / "nvidia_pytriton.libs")]
    os.execve(
        binary,
        [
            str(binary),
            f"--model-repository={repository}",
            f"--backend-directory={backends(scratch / 'backends', wheel)}",
            "--http-address=127.0.0.1",
            f"--http-port={task.port}",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ],
        {**os.environ, "PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(libraries)},
    )


if __name__ == "__main__":
    main()
