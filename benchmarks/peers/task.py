"""The task of a peer: what it has to serve, where, and with how much of the machine."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict

PeerEngine = Literal["openvino", "torch-eager"]

_VARIABLE = "PEER_TASK"


class PeerTask(BaseModel):
    """Goes through the environment, which also reaches the processes that a peer starts."""

    model_config = ConfigDict(frozen=True)

    engine: PeerEngine
    """`openvino` is what our own server runs; `torch-eager` is what one gets without effort."""
    port: int
    """Of HTTP, on 127.0.0.1."""
    cores: int
    """Processes that may infer at the same time, each with one thread."""

    @classmethod
    def given(cls) -> PeerTask:
        """The task of this process."""
        return cls.model_validate_json(os.environ[_VARIABLE])

    def environment(self) -> dict[str, str]:
        """What a process that is given it has in its environment."""
        return {_VARIABLE: self.model_dump_json()}
