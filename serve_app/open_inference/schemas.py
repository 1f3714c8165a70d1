"""The wire contract of the protocol's answers, as OpenAPI shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.schemas import Exact


class ProtocolError(Exact):
    """The body of every error under `/v2`; the header `x-error-code` has its stable code."""

    error: str


class Live(Exact):
    """What `/v2/health/live` says."""

    live: Literal[True] = True


class Ready(Exact):
    """What `/v2/health/ready` and `/v2/models/dermserve/ready` say."""

    ready: Literal[True] = True


class ServerMetadata(Exact):
    """What `/v2` says."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Exact):
    """An input or output; -1 stands for the number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Exact):
    """What `/v2/models/dermserve` says."""

    name: str
    versions: list[str] = Field(description="that serve")
    platform: str
    inputs: list[TensorMetadata] = Field(
        description="a request has one of them; PIXELS may be FP32 in 0..1 as well"
    )
    outputs: list[TensorMetadata]


class ModelConfig(BaseModel):
    """Triton's model configuration."""

    model_config = ConfigDict(extra="allow")

    name: str
    platform: str
    max_batch_size: int


class InferredOutput(Exact):
    """One output; its values are `data`, or in binary form behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | list[bool] | list[str] | None = None
    parameters: dict[str, Any] | None = None


class Inferred(Exact):
    """The answer of an inference."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferredOutput]


class IndexEntry(Exact):
    """A version in the registry."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class ModelStatistics(BaseModel):
    """Triton's statistics of one version; times are sums in nanoseconds."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str
    inference_count: int = Field(description="images")
    execution_count: int = Field(description="forward passes that they shared")


class StatisticsList(Exact):
    """What `/v2/models/dermserve/stats` says, of the ingress replica that answers."""

    model_stats: list[ModelStatistics]


class IndexRequest(BaseModel):
    """The body of `/v2/repository/index`."""

    ready: bool = Field(False, description="only versions that serve")


class RepositoryRequest(BaseModel):
    """The body of a load or an unload."""

    parameters: dict[str, Any] | None = Field(None, description="`version`: which one is to serve")
