"""Handles of deployments in this process: what they carry is pickled, as between replicas."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import Any


class InProcessHandle:
    """Calls an object's methods as a `DeploymentHandle` calls a replica's.

    Args:
        replica: the object.
        method: that is called.
    """

    def __init__(self, replica: Any, method: str = "__call__") -> None:
        self._replica = replica
        self._method = method

    def options(self, *, method_name: str, **_: object) -> InProcessHandle:
        return InProcessHandle(self._replica, method_name)

    def remote(self, *args: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self._remote(*args))

    async def _remote(self, *args: Any) -> Any:
        answer = getattr(self._replica, self._method)(*pickle.loads(pickle.dumps(args)))
        if inspect.isawaitable(answer):
            answer = await answer
        return pickle.loads(pickle.dumps(answer))
