"""Log records: what every line of a replica's log says besides its message.

Ray Serve writes the lines, as text or as JSON (`logging_config` of serve_config.yaml), to files
that it rotates. What it lacks is added here, to each record before it is written: the id of the
request in every format, the id of its trace, and nothing that a client could have forged.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from logging.handlers import MemoryHandler
from types import MappingProxyType
from typing import Any

LOGGER = "ray.serve"
"""What the replicas log to, ours and Ray's lines alike."""

REQUEST_FIELDS: ContextVar[Mapping[str, str]] = ContextVar(
    "fields of the request", default=MappingProxyType({})
)
"""What the lines of the request that is being answered say of it: `request_id`, `trace_id`."""

FLUSH_S = 1.0
"""Longest time that a line waits in memory for others before it is written."""

MAX_ID_CHARACTERS = 128

# Separators of lines and what terminals obey; U+2028 and U+2029 end lines for some readers.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_IN_AN_ID = re.compile(r"[^!-~]")


def printable(text: str) -> str:
    """An id that a client gave, as it may stand in a log: visible ASCII, 128 characters at most."""
    return _NOT_IN_AN_ID.sub("?", text[:MAX_ID_CHARACTERS])


def write_log_records() -> None:
    """Have this replica's log say what this file says; every deployment calls it when it begins.

    Outside Serve nothing changes.
    """
    component, logger = _component(), logging.getLogger(LOGGER)
    if component is None or any(isinstance(each, RecordFilter) for each in logger.filters):
        return
    logger.addFilter(RecordFilter(component))
    threading.Thread(target=_flush, args=(logger,), name="log-flush", daemon=True).start()


class RecordFilter(logging.Filter):
    """Completes records; lets all of them through.

    Args:
        component: fields of the process that writes them.
    """

    def __init__(self, component: Mapping[str, str]) -> None:
        super().__init__()
        # Serve's own filters would ask Ray for most of this, for every line.
        self._component = {**component, "skip_context_filter": True}

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete one record."""
        fields = record.__dict__
        for name, value in self._component.items():
            fields.setdefault(name, value)
        try:
            text = record.getMessage()
        except Exception:  # a wrong line is no reason to lose it, or the request that it is about
            text = f"{record.msg} {record.args}"
        if "request_ids" in fields:  # of a batch, which belongs to no single one
            fields["request_ids"] = [printable(each) for each in fields["request_ids"] if each]
            text += f" (requests: {', '.join(fields['request_ids'])})"
        else:
            for name, value in {**_serve_fields(), **REQUEST_FIELDS.get()}.items():
                fields.setdefault(name, value)
            if "request_id" in fields:
                fields["request_id"] = printable(fields["request_id"])
        record.msg, record.args = _CONTROL.sub(_escaped, text), ()
        return True


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _serve_fields() -> dict[str, str]:
    """Id and route of the request that Serve has called this replica for."""
    from ray.serve.context import _serve_request_context  # as its documentation says

    context = _serve_request_context.get()
    # Without a route, nobody outside has asked: a batch comes with an id that Serve made up.
    if context is None or not context.route:
        return {}
    return {"request_id": context.request_id, "route": context.route}


def _component() -> dict[str, str] | None:
    """This replica, as Serve's own lines in JSON name it; None outside Serve."""
    import ray
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        replica = serve.get_replica_context()
    except RayServeException:
        return None
    return {
        "component_name": "replica",
        "application": replica.app_name,
        "deployment": replica.deployment,
        "replica": replica.replica_tag,
        "node_id": ray.get_runtime_context().get_node_id(),
    }


def _flush(logger: logging.Logger) -> None:
    """Write what waits; Serve itself does when a hundred lines have come, or an error."""
    done = threading.Event()  # never set: a daemon ends with its process
    while not done.wait(FLUSH_S):
        for handler in list(logger.handlers):
            if isinstance(handler, MemoryHandler) and handler.buffer:
                handler.flush()


def batch_fields(request_ids: Any) -> dict[str, list[str]]:
    """`extra` of a line about a batch: whose images it carries, each once, in order."""
    return {"request_ids": list(dict.fromkeys(request_ids))}
