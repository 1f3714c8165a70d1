"""The exposition: what the agents of all nodes export for Prometheus, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx
import ray
from ray.exceptions import RayError

from models.errors import StageUnavailable

FRESH_S = 2.0
"""How long what was fetched serves all who ask; counts are not carried over more often."""

TIMEOUT_S = 3.0
"""Longest wait for the agent of a node."""

OURS = "ray_dermserve_"
_PREFIXES = (OURS, "ray_serve_")


def find_agents() -> list[str]:
    """Addresses of the metrics of all nodes that are alive; blocks."""
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


@dataclass
class Family:
    """The lines of one metric, of all nodes; their labels tell whose each is."""

    head: list[str]
    """`# HELP` and `# TYPE`."""
    samples: list[str] = field(default_factory=list)


def merge(pages: Iterable[str]) -> dict[str, Family]:
    """Families of the application and of Serve, by name.

    A family may stand only once in what Prometheus reads. Lines are moved and not parsed: a page
    of Ray has some thousands.

    Args:
        pages: in Prometheus' text format, one of each node.
    """
    merged: dict[str, Family] = {}
    for page in pages:
        begun: dict[str, list[str]] = {}
        family: Family | None = None
        for line in page.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                name = line.split(" ", 3)[2]
                begun.setdefault(name, []).append(line)
                family = None
                if name.startswith(_PREFIXES):
                    family = merged.setdefault(name, Family(begun[name]))
            elif family is not None and line:
                family.samples.append(line)
    return merged


def exposition_text(families: dict[str, Family], prefix: str = "") -> str:
    """Families whose names begin with a prefix, in Prometheus' text format."""
    lines = [
        line
        for name, family in families.items()
        if name.startswith(prefix)
        for line in (*family.head, *family.samples)
    ]
    return "".join(f"{line}\n" for line in lines)


class Exposition:
    """Fetches the metrics of all nodes, once for all who ask within `FRESH_S`.

    Args:
        find: returns the agents' addresses, and may block.
        transport: of httpx; None connects for real.
    """

    def __init__(
        self,
        find: Callable[[], list[str]] = find_agents,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._find = find
        self._transport = transport
        self._lock = asyncio.Lock()
        self._fetched: tuple[float, dict[str, Family]] | None = None

    async def families(self) -> dict[str, Family]:
        """The families as they were `FRESH_S` ago at most.

        Raises:
            StageUnavailable: if no agent answers.
        """
        async with self._lock:
            if self._fetched is None or time.monotonic() - self._fetched[0] > FRESH_S:
                pages = await self._pages()
                self._fetched = time.monotonic(), await asyncio.to_thread(merge, pages)
            return self._fetched[1]

    async def _pages(self) -> list[str]:
        try:
            agents = await asyncio.to_thread(self._find)
        except RayError as error:
            raise StageUnavailable("Ray does not say which nodes there are.") from error
        async with httpx.AsyncClient(timeout=TIMEOUT_S, transport=self._transport) as http:
            asked = [_page(http, agent) for agent in agents]
            pages = [page for page in await asyncio.gather(*asked) if page is not None]
        if not pages:
            raise StageUnavailable("No node answers with its metrics. Try again in a few seconds.")
        return pages


async def _page(http: httpx.AsyncClient, agent: str) -> str | None:
    """What one agent exports; None while its node is on its way out, or in."""
    try:
        response = await http.get(agent)
    except httpx.HTTPError:
        return None
    return response.text if response.is_success else None
