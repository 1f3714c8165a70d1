"""Leaving: a node says that it will go, and goes when its replicas are somewhere else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

logger = logging.getLogger(__name__)

LABEL = "dermserve-node"
"""Label of Ray's under which a node finds itself among the others."""

LEAVE_S = 60.0
"""Longest time for replicas to move; after it, those that are left end with what they have."""

_POLL_S = 0.5
_REPLICA = "ray::ServeReplica:"


def announce(address: str, label: str) -> bool:
    """Tell the head that a node will go: Serve starts its replicas elsewhere and then ends them.

    Args:
        address: of the head.
        label: value of `LABEL` of the node.

    Returns:
        Whether the head has heard it; False if it is away, or does not know the node.
    """
    # As `ray drain-node` does it; Ray has no public call, and no types for these.
    from ray import _raylet
    from ray.core.generated import autoscaler_pb2, gcs_pb2

    raylet: Any = _raylet
    messages: Any = autoscaler_pb2
    states: Any = gcs_pb2
    alive = states.GcsNodeInfo.ALIVE  # a machine that joined again was another node before
    deadline_ms = int((time.time() + LEAVE_S) * 1000)
    reason = messages.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    try:
        client = raylet.GcsClient(address=address)
        for node_id, node in client.get_all_node_info(timeout=5).items():
            if node.labels.get(LABEL) == label and node.state == alive:
                accepted, said = client.drain_node(
                    node_id.hex(), reason, "dermserve node was stopped", deadline_ms
                )
                if not accepted:
                    logger.warning("The head does not let this machine go: %s", said)
                return bool(accepted)
    except Exception as error:  # Ray raises what it likes
        logger.warning("The head cannot be told that this machine goes: %s", error)
    return False


def wait_for_replicas(root: int, timeout_s: float, ended: Callable[[], bool]) -> bool:
    """Wait until no replica of Serve is left below a process.

    Args:
        root: process id.
        timeout_s: longest wait.
        ended: whether there is nothing left to wait for.

    Returns:
        Whether all are gone.
    """
    deadline = time.monotonic() + timeout_s
    while not ended():
        if not replicas_below(root):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def replicas_below(root: int) -> list[int]:
    """Process ids of the replicas of Serve that descend from a process."""
    replicas = []
    with suppress(psutil.Error):  # the root has just ended
        for process in psutil.Process(root).children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                if "".join(process.cmdline()).startswith(_REPLICA):
                    replicas.append(process.pid)
    return replicas
