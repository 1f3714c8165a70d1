"""What a server takes: seconds until it is ready, memory by role, and the price of a replica."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from benchmarks.command import run
from benchmarks.images import image_files
from benchmarks.memory_recorder import MemoryRecorder
from benchmarks.process_tree import (
    MIB,
    ProcessTree,
    RoleMemory,
    memory_by_role,
    ordered,
    pss_bytes,
)
from benchmarks.screen import screen
from benchmarks.started_server import StartedServer, use_own_token
from benchmarks.wrk import LoadFailed, LoadResult, run_wrk
from models.configuration import read_serve_config
from serve_app.chain import CHAIN
from training.promotion.serve_config import APPLICATION, ServeConfig

REPLICA_TIMEOUT_S = 120.0
_POLL_S = 0.1


class AddedReplica(BaseModel):
    """One replica more of one stage."""

    model_config = ConfigDict(frozen=True)

    stage: str
    running_s: float
    """From the new configuration to a replica that takes requests."""
    own_bytes: int
    """What the new process has for itself (USS)."""
    tree_bytes: int
    """By how much the memory of all processes grew (PSS)."""


class Footprint(BaseModel):
    """A whole run."""

    model_config = ConfigDict(frozen=True)

    config: str
    ready_s: tuple[float, ...]
    """Of each start; the first finds no registry and makes it."""
    started: dict[str, RoleMemory]
    """Memory by role, once it is ready."""
    load: LoadResult
    peak: dict[str, RoleMemory]
    """While loaded, when all together were largest."""
    loaded: dict[str, RoleMemory]
    """After the load."""
    replicas: tuple[AddedReplica, ...]


def with_one_more(document: dict[str, Any], stage: str) -> dict[str, Any]:
    """A Serve configuration with one replica more of a deployment.

    Raises:
        LoadFailed: if the configuration does not name it, or leaves its number to Serve.
    """
    changed = copy.deepcopy(document)
    for deployment in _deployments(changed):
        if deployment["name"] == stage:
            block = deployment.get("autoscaling_config")
            if block is not None:
                count = int(block.get("min_replicas") or 1) + 1
                most = max(count, int(block.get("max_replicas") or 1))
                block.update(min_replicas=count, max_replicas=most)
                block.pop("initial_replicas", None)
                return changed
            count = deployment.get("num_replicas") or 1
            if isinstance(count, int):
                deployment["num_replicas"] = count + 1
                return changed
    raise LoadFailed(
        f"The configuration says no number of replicas for {stage}. Name its deployments with "
        f"--stages; it has {', '.join(each['name'] for each in _deployments(document))}."
    )


def _deployments(document: dict[str, Any]) -> list[dict[str, Any]]:
    for application in document["applications"]:
        if application["name"] == APPLICATION:
            return application.get("deployments") or []
    return []


class RunningServe:
    """Serve of a running server, through Ray's dashboard."""

    def __init__(self, dashboard_url: str) -> None:
        self._config = ServeConfig(dashboard_url)

    def add(self, stage: str) -> None:
        """Deploy one replica more of a stage."""
        self._config.write(with_one_more(self._config.read().document, stage))

    def replicas(self, stage: str) -> frozenset[str]:
        """Ids of the replicas of a stage that take requests."""
        deployments = self._config.details()["applications"][APPLICATION]["deployments"]
        replicas = deployments.get(stage, {}).get("replicas", [])
        return frozenset(each["replica_id"] for each in replicas if each["state"] == "RUNNING")


def add_replica(
    serve: RunningServe, tree: ProcessTree, stage: str, settle_s: float
) -> AddedReplica:
    """Add one replica of a stage, and see what it takes.

    Args:
        serve: that runs the stage.
        tree: of the same server.
        stage: name of its deployment.
        settle_s: between its first moment and the look at its memory.

    Raises:
        LoadFailed: if it does not run in time.
    """
    before, earlier = tree.snapshot(), serve.replicas(stage)
    began = time.monotonic()
    serve.add(stage)
    while not serve.replicas(stage) - earlier:
        if time.monotonic() - began > REPLICA_TIMEOUT_S:
            raise LoadFailed(
                f"A second replica of {stage} does not run after {REPLICA_TIMEOUT_S:.0f} s. The "
                "page Serve of Ray's dashboard says why."
            )
        time.sleep(_POLL_S)
    running_s = time.monotonic() - began
    time.sleep(settle_s)
    after = tree.snapshot()
    known = {(use.pid, use.created) for use in before}
    new = [use for use in after if use.role == stage and (use.pid, use.created) not in known]
    return AddedReplica(
        stage=stage,
        running_s=running_s,
        own_bytes=sum(use.uss_bytes for use in new),
        tree_bytes=pss_bytes(after) - pss_bytes(before),
    )


def memory_stages(footprint: Footprint) -> Table:
    """Memory by role after the start, at its peak, and after the load."""
    moments = (footprint.started, footprint.peak, footprint.loaded)
    table = Table("role", "processes", *(f"{m} MiB" for m in ("ready", "peak", "after the load")))
    for role in ordered(role for moment in moments for role in moment):
        count = max(moment[role].processes for moment in moments if role in moment)
        sizes = [moment[role].pss_bytes if role in moment else 0 for moment in moments]
        table.add_row(role, str(count), *(f"{size / MIB:.0f}" for size in sizes))
    table.add_section()
    totals = [sum(each.pss_bytes for each in moment.values()) for moment in moments]
    count = max(sum(each.processes for each in moment.values()) for moment in moments)
    table.add_row("all", str(count), *(f"{total / MIB:.0f}" for total in totals))
    return table


def replicas_table(replicas: Sequence[AddedReplica]) -> Table:
    """A row for each added replica."""
    table = Table("one replica more of", "seconds", "its own MiB", "MiB more in all")
    for each in replicas:
        table.add_row(
            each.stage,
            f"{each.running_s:.1f}",
            f"{each.own_bytes / MIB:.0f}",
            f"{each.tree_bytes / MIB:+.0f}",
        )
    return table


def main(
    config: Annotated[Path, typer.Option(help="Serve configuration.")] = Path("serve_config.yaml"),
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    starts: Annotated[int, typer.Option(min=1, help="How often it is started.")] = 3,
    concurrency: Annotated[int, typer.Option(help="Connections of the load.")] = 64,
    seconds: Annotated[int, typer.Option(help="Length of the load.")] = 20,
    settle_s: Annotated[float, typer.Option(help="Before a look at the memory.")] = 5.0,
    stages: Annotated[
        str | None,
        typer.Option(help="Deployments to add a replica of, with commas; by default the chain's."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the measurements as JSON.")] = None,
) -> None:
    """Start a server of its own, load it, and add a replica of each stage.

    It runs on free ports with a registry and a catalogue of its own, and ends with the command.
    Memory is PSS: what processes share counts once.

    Example: python -m benchmarks.footprint --images ~/HAM10000/samples
    """
    console = screen()
    chosen = _chain(config) if stages is None else stages.split(",")
    use_own_token()
    ready: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        places, pictures = Path(scratch, "server"), Path(scratch, "images")
        places.mkdir()
        pictures.mkdir()
        files = image_files(images, pictures)
        while len(ready) < starts - 1:
            with console.status(f"Start {len(ready) + 1}"), StartedServer(config, places) as server:
                ready.append(server.ready_s)
        with console.status(f"Start {starts}"), StartedServer(config, places) as server:
            ready.append(server.ready_s)
            time.sleep(settle_s)
            started = memory_by_role(server.tree.snapshot())
            with MemoryRecorder(server.tree) as memory:
                load = run_wrk(
                    f"{server.url}/predict", files, concurrency=concurrency, seconds=seconds
                )
            time.sleep(settle_s)
            loaded = memory_by_role(server.tree.snapshot())
            serve = RunningServe(server.dashboard_url)
            added = [add_replica(serve, server.tree, stage, settle_s) for stage in chosen]
    footprint = Footprint(
        config=str(config),
        ready_s=tuple(ready),
        started=started,
        load=load,
        peak=memory.peak,
        loaded=loaded,
        replicas=tuple(added),
    )
    listed = ", ".join(f"{each:.1f}" for each in footprint.ready_s)
    console.print(f"Ready after {listed} s; the first start makes the registry.")
    console.print(
        f"Loaded with {load.rate:.0f} requests/s by {concurrency} connections, {load.failed} failed"
    )
    console.print(memory_stages(footprint))
    console.print(replicas_table(footprint.replicas))
    if output is not None:
        output.write_text(footprint.model_dump_json(indent=2) + "\n")


def _chain(config: Path) -> list[str]:
    """The stages of a prediction that a configuration deploys."""
    names = [each["name"] for each in _deployments(read_serve_config(config))]
    return [name for name in CHAIN if name in names]


if __name__ == "__main__":
    run(main)
