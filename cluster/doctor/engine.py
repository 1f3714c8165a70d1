"""The inference engine: which one runs, on what, and in which precision it really computes."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.doctor.finding import Finding, not_checked, ok, warning, wrong
from cluster.doctor.model import package_of, wished_of
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen
from models.errors import DermServeError
from models.package import INT8_GRAPH_FILE

_BFLOAT16, _INT8 = "BF16", "int8"
_KERNELS = {"i8": _INT8, "u8": _INT8, "s8": _INT8}


@dataclass(frozen=True)
class EngineFacts:
    """What is asked for, what the server says, and what OpenVINO does here."""

    configured: str
    """`engine` of the settings."""
    info: dict[str, Any] | Unseen | None
    """`engine` of `/health`."""
    gpus: float
    """That Ray hands out."""
    capabilities: tuple[str, ...] | Unseen
    """Of this machine's processor, by OpenVINO's names."""
    int8: bool
    """Whether the package holds an INT8 graph."""
    kernels: Mapping[str, int] | Unseen
    """Layers by the precision of the kernels that OpenVINO chooses here."""


def gather(surroundings: Surroundings) -> EngineFacts:
    """Ask the server, and compile the graph once as a replica does."""
    health = surroundings.health
    info = health if isinstance(health, Unseen) else health.document.get("engine")
    capabilities: tuple[str, ...] | Unseen
    kernels: Mapping[str, int] | Unseen
    int8 = False
    configured = str(surroundings.declared.args.get("engine", "auto"))
    elsewhere = isinstance(info, dict) and info.get("name") != "openvino"
    if elsewhere or configured not in ("auto", "openvino"):
        capabilities = kernels = Unseen("OpenVINO is not the engine.")
    elif importlib.util.find_spec("openvino") is None:
        capabilities = kernels = Unseen("OpenVINO is not installed.")
    else:
        import openvino

        from serve_app.engines.openvino_cpu import OpenVinoEngine

        found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        capabilities = tuple(map(str, found))
        try:
            package = package_of(surroundings, wished_of(surroundings))
            int8 = INT8_GRAPH_FILE in package
            kernels = OpenVinoEngine(package).kernels()
        except DermServeError as error:
            kernels = Unseen(error.message)
    return EngineFacts(
        configured=configured,
        info=info,
        gpus=sum(each.gpus for each in surroundings.nodes),
        capabilities=capabilities,
        int8=int8,
        kernels=kernels,
    )


def check(facts: EngineFacts) -> list[Finding]:
    """Judge the engine by what it could be, and the kernels by what the server says."""
    return [*_running(facts), *_kernels(facts)]


def _running(facts: EngineFacts) -> list[Finding]:
    if isinstance(facts.info, Unseen):
        return [not_checked(f"Which engine runs is not known. {facts.info}")]
    if facts.info is None:
        return [not_checked("No engine runs: the server has no model loaded.")]
    name, precision = facts.info["name"], facts.info["precision"]
    if facts.configured not in ("auto", name):
        return [
            wrong(
                f"The configuration says {facts.configured}, and {name} runs.",
                "Deploy the configuration again.",
            )
        ]
    found = []
    if facts.gpus and name != "torch-cuda":
        found.append(
            warning(
                f"{name} runs on the processor, and Ray has {facts.gpus:g} GPUs.",
                "Set classifier_gpus: 1 in the args, as configs/gpu.yaml does.",
            )
        )
    if name == "openvino" and facts.int8 and _INT8 not in precision:
        found.append(
            warning(
                f"The package holds an INT8 graph, and the server runs {precision}.",
                "Promote the version again, so that replicas load it anew.",
            )
        )
    slow = precision == "f32" and not isinstance(facts.capabilities, Unseen)
    if slow and not isinstance(facts.capabilities, Unseen) and _BFLOAT16 in facts.capabilities:
        found.append(
            warning(
                "The server computes in f32, and this processor has bf16, which is faster.",
                "Restart the server; if it stays so, another machine runs its classifier.",
            )
        )
    lanes = facts.info["lanes"]
    return found or [
        ok(
            f"{name} runs on {facts.info['device']}, in {precision}, {lanes} "
            f"{'lane' if lanes == 1 else 'lanes'}."
        )
    ]


def _kernels(facts: EngineFacts) -> list[Finding]:
    if isinstance(facts.kernels, Unseen):
        return [not_checked(f"The precision of each layer is not known. {facts.kernels}")]
    total = sum(facts.kernels.values())
    counts = {_KERNELS.get(name, name): 0 for name in facts.kernels}
    for name, count in facts.kernels.items():
        counts[_KERNELS.get(name, name)] += count
    main = max(counts, key=lambda name: counts[name], default="")
    said = ", ".join(f"{count} in {name}" for name, count in counts.items())
    claimed = facts.info.get("precision", "") if isinstance(facts.info, dict) else ""
    if claimed and main not in claimed:
        return [
            warning(
                f"The server says {claimed}, and of {total} layers with weights OpenVINO runs "
                f"{said} on this machine.",
                "If the classifier is on this machine, restart it and report this.",
            )
        ]
    return [ok(f"Of {total} layers with weights OpenVINO runs {said} on this machine.")]


SUBJECT = Subject("Engine", gather, check)
