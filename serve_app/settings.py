"""Settings of the serving application: the `args` of serve_config.yaml.

Every queue and limit follows from the largest batch, so that they cannot contradict each
other: a stage that holds fewer requests than the next one's batch would starve it.
"""

from __future__ import annotations

import os
import re

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.limits import ImageLimits
from serve_app.datapath import MAX_MESSAGE_BYTES
from serve_app.engines import EngineName

MIB = 1024 * 1024

_ORIGIN = re.compile(r"https?://[^/*\s]+")


class ServeSettings(BaseModel):
    """What an operator may choose; the properties are what follows from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: int = Field(32, ge=1, le=256, description="images in the largest batch")
    engine: EngineName = "auto"
    classifier_cpus: float = Field(0.5, ge=0, description="logical CPUs that Ray reserves")
    classifier_gpus: float = Field(0.0, ge=0, description="GPUs that Ray reserves")
    colocated: bool = Field(
        False, description="all three stages in one replica: for one small machine"
    )
    shared_memory: bool = Field(
        True, description="images travel between replicas of one machine through shared memory"
    )
    access_log: bool = Field(False, description="a line in the log for every request")
    hop_lanes: int = Field(
        8,
        ge=1,
        description="batches in flight from one replica to the next stage; at least "
        "one for each replica there",
    )
    threads: int = Field(0, ge=0, description="cores a replica may keep busy; 0 takes all it sees")
    deadline_s: float = Field(
        20.0, gt=0, le=25, description="longest wait for an answer; Serve itself hangs up at 30"
    )
    body_timeout_s: float = Field(
        20.0, gt=0, le=25, description="a client has for sending a whole body"
    )
    key_requests_per_minute: int = Field(
        60_000,
        ge=1,
        description="of each API key without a limit of its own, for each ingress replica; more "
        "than a replica answers, so that nothing is throttled until an operator gives a key less",
    )
    key_bytes_per_minute: int = Field(
        16 * 1024 * MIB, ge=1, description="of request bodies; likewise"
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="of web pages that may call from a browser, as https://example.org"
    )
    retention_days: float | None = Field(
        None, gt=0, le=36_500, description="after which an upload is deleted; null keeps it"
    )
    max_image_bytes: int = Field(20 * MIB, ge=1, description="of one encoded image")
    max_batch_bytes: int = Field(80 * MIB, ge=1, description="of one /predict/batch body")
    max_upload_bytes: int = Field(
        256 * MIB, ge=1, description="of one /upload/bulk body, which waits on disk"
    )
    max_pixels: int = Field(
        50_000_000, ge=1, description="of one JPEG; half of it in other formats"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> ServeSettings:
        if self.max_hop_bytes > MAX_MESSAGE_BYTES:
            largest = MAX_MESSAGE_BYTES - (self.max_hop_bytes - self.max_image_bytes)
            raise ValueError(f"max_image_bytes may be {largest} at most")
        if self.max_batch_bytes < self.max_image_bytes:
            raise ValueError("max_batch_bytes must be at least max_image_bytes")
        if self.max_batch_bytes > self.max_waiting_bulk_bytes:
            raise ValueError(f"max_batch_bytes may be {self.max_waiting_bulk_bytes} at most")
        if self.colocated and self.classifier_gpus:
            raise ValueError("colocated is for CPUs; with classifier_gpus, leave it out")
        if self.max_upload_bytes < self.max_image_bytes:
            raise ValueError("max_upload_bytes must be at least max_image_bytes")
        if self.key_bytes_per_minute < self.max_upload_bytes:
            raise ValueError("key_bytes_per_minute must be at least max_upload_bytes")
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"allowed_origins holds {origin!r}; an origin is a scheme, a host and perhaps "
                    "a port, as in https://example.org, without a path"
                )
        return self

    @property
    def max_files(self) -> int:
        """Images in one `/predict/batch` request: twice the largest batch."""
        return 2 * self.max_batch_size

    @property
    def max_upload_files(self) -> int:
        """Files in one `/upload/bulk` request: eight of the largest batches."""
        return 8 * self.max_batch_size

    @property
    def max_inference_json_bytes(self) -> int:
        """The JSON of one inference request: the largest image in base64, and some room."""
        return self.max_image_bytes * 4 // 3 + MIB // 16

    @property
    def max_grpc_bytes(self) -> int:
        """One gRPC message: as much as a body of several images, and some room."""
        return self.max_batch_bytes + MIB // 16

    @property
    def max_waiting(self) -> int:
        """Images one ingress replica holds at once before it answers 503: 16 batches."""
        return 16 * self.max_batch_size

    @property
    def max_waiting_bulk(self) -> int:
        """How many of those may be bulk work: half, so that interactive work always finds room."""
        return self.max_waiting // 2

    @property
    def max_waiting_bulk_bytes(self) -> int:
        """How many of the bytes may be bulk work's: half."""
        return self.max_waiting_bytes // 2

    @property
    def hop_batch_size(self) -> int:
        """Images in one message between replicas: a quarter of the largest batch.

        The next stage puts its own batches together from all messages that have come. Small
        ones reach it while the rest of a large batch is still being worked on.
        """
        return -(-self.max_batch_size // 4)

    @property
    def max_waiting_bytes(self) -> int:
        """Encoded bytes that those images may have together: 16 of the largest messages."""
        return 16 * self.max_hop_bytes

    @property
    def ingress_ongoing_requests(self) -> int:
        """Requests Serve lets into one ingress replica.

        More than `max_waiting`, so that it is our 503 with its advice that a client sees,
        and health checks still get in.
        """
        return 2 * self.max_waiting

    @property
    def stage_ongoing_requests(self) -> int:
        """Calls that Serve lets into one replica of an inner stage; each carries a batch."""
        return self.max_waiting

    @property
    def ingress_target(self) -> int:
        """Requests per ingress replica at which autoscaling adds one: four batches."""
        return 4 * self.max_batch_size

    @property
    def stage_target(self) -> int:
        """Calls per replica of an inner stage at which autoscaling adds one: a largest batch's."""
        batch = -(-self.max_batch_size // self.hop_batch_size)
        # With fewer lanes, one replica before it would never bring a second one here.
        return max(1, min(batch, self.hop_lanes // 2))

    @property
    def max_hop_bytes(self) -> int:
        """Most bytes in one message between replicas, but always at least one image."""
        return self.max_image_bytes + 12 * MIB

    @property
    def image_limits(self) -> ImageLimits:
        return ImageLimits(max_pixels=self.max_pixels)

    @property
    def effective_threads(self) -> int:
        """Cores of this machine that one replica may keep busy."""
        return self.threads or len(os.sched_getaffinity(0))
