"""The error tree: every error that may reach a user, with its HTTP status and a stable code.

Each error takes one message that says what is wrong and what to do about it. Errors travel
between replicas as values, so they carry nothing but that message and, at most, some seconds to
wait.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

MISTAKE = "The server made a mistake. Report it with this request id; the log says more."
"""What a client reads of a bug of ours."""


class DermServeError(Exception):
    """Root of the tree. Never raised itself."""

    status: ClassVar[int] = 500
    """HTTP status of the answer."""
    code: ClassVar[str] = "internal_error"
    """Stable machine-readable code; clients may switch on it."""
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What HTTP says beside it, the same for every error of the kind."""
    retry_after_s: int | None = None
    """Seconds for the `Retry-After` header, where waiting helps."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


# What is wrong with one image.


class EmptyImage(DermServeError):
    """The body or file has no bytes."""

    status, code = 400, "empty_image"


class TruncatedImage(DermServeError):
    """The bytes begin like an image but cannot be decoded to the end."""

    status, code = 400, "truncated_image"


class UnsupportedImage(DermServeError):
    """The bytes are no image in a supported format."""

    status, code = 415, "unsupported_image"


class ImageTooLarge(DermServeError):
    """The image has more pixels than the server decodes."""

    status, code = 422, "image_too_large"


class ImageTooSmall(DermServeError):
    """The image is too small to show a lesion."""

    status, code = 422, "image_too_small"


# What is wrong with one request.


class MissingFile(DermServeError):
    """A form came without the field that carries the image."""

    status, code = 400, "missing_file"


class MalformedRequest(DermServeError):
    """The request cannot be read: a broken form, or a client that hung up."""

    status, code = 400, "malformed_request"


class BodyTooLarge(DermServeError):
    """The body, or one file in it, has more bytes than the server takes."""

    status, code = 413, "body_too_large"


class TooManyFiles(DermServeError):
    """A form carries more files than one request may."""

    status, code = 413, "too_many_files"


class BodyTooSlow(DermServeError):
    """The body did not come within the time that a client has for it."""

    status, code = 408, "body_too_slow"
    headers = MappingProxyType({"connection": "close"})  # the rest of it is not waited for


class UnknownClass(DermServeError):
    """A request names a class that is none of the seven."""

    status, code = 422, "unknown_class"


class InvalidField(DermServeError):
    """A field of a request has a value that it cannot have."""

    status, code = 422, "invalid_field"


class LabelsMismatch(DermServeError):
    """The labels of an upload do not match its files."""

    status, code = 422, "labels_mismatch"


class NotFound(DermServeError):
    """No such route or resource."""

    status, code = 404, "not_found"


class MethodNotAllowed(DermServeError):
    """The route exists, but not for this method."""

    status, code = 405, "method_not_allowed"


# Who may not.


class Unauthenticated(DermServeError):
    """The request carries no API key, or none that is valid."""

    status, code = 401, "unauthenticated"
    headers = MappingProxyType({"www-authenticate": "Bearer"})


class Forbidden(DermServeError):
    """The API key lacks the role that the request needs."""

    status, code = 403, "forbidden"


class ForeignSite(DermServeError):
    """A server without keys is for this machine only, and the request names another."""

    status, code = 403, "foreign_site"


class RateLimited(DermServeError):
    """The API key has used up what it may in a minute.

    Args:
        message: as for all errors.
        retry_after_s: after which the same request passes; rounded up to whole seconds.
    """

    status, code = 429, "rate_limited"

    def __init__(self, message: str, retry_after_s: float = 1) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(retry_after_s))


# What the state of the server forbids.


class RunActive(DermServeError):
    """A retraining is under way, and there is never a second one."""

    status, code = 409, "run_active"


class NoRunActive(DermServeError):
    """There is no retraining to stop."""

    status, code = 409, "no_run_active"


class RolloutActive(DermServeError):
    """Another version is being rolled out."""

    status, code = 409, "rollout_active"


class AlreadyChampion(DermServeError):
    """The version that is to be promoted is the champion."""

    status, code = 409, "already_champion"


class ModelPinned(DermServeError):
    """The Serve configuration names the version that serves, so no other may take its place."""

    status, code = 409, "model_pinned"


class PackageDamaged(DermServeError):
    """The package of a version in the registry is missing, altered or incompatible."""

    status, code = 409, "package_damaged"


class GateRefused(DermServeError):
    """The promotion gate has refused the version."""

    status, code = 409, "gate_refused"


# What the server cannot do now.


class Overloaded(DermServeError):
    """Every queue is full; the same request may succeed in a moment."""

    status, code, retry_after_s = 503, "overloaded", 1


class ModelUnavailable(DermServeError):
    """No model is loaded."""

    status, code, retry_after_s = 503, "model_unavailable", 10


class StageUnavailable(DermServeError):
    """A replica died with the request; the same request may succeed in a moment."""

    status, code, retry_after_s = 503, "stage_unavailable", 1


class CatalogueUnavailable(DermServeError):
    """The catalogue or the image store cannot be reached, or is busy."""

    status, code, retry_after_s = 503, "catalogue_unavailable", 2


class TrainerUnavailable(DermServeError):
    """The trainer application does not run, or is restarting."""

    status, code, retry_after_s = 503, "trainer_unavailable", 5


class StorageFull(DermServeError):
    """There is no room left for what was sent."""

    status, code = 507, "storage_full"


class RolloutFailed(DermServeError):
    """Not every replica could take a version over."""

    status, code = 409, "rollout_failed"


class ImageDamaged(DermServeError):
    """A stored image is not what was stored."""

    code = "image_damaged"


class DeadlineExceeded(DermServeError):
    """The request's deadline passed before its answer was ready."""

    status, code = 504, "deadline_exceeded"


# What is wrong with our own files or settings; these stop a command, not a request.


class InvalidPackage(DermServeError):
    """A model package is missing, incomplete, altered or incompatible."""

    code = "invalid_package"


class InvalidConfiguration(DermServeError):
    """A setting contradicts another or lies outside its range."""

    code = "invalid_configuration"


class InvalidDataset(DermServeError):
    """A dataset folder lacks something that training needs."""

    code = "invalid_dataset"


class AuditBroken(DermServeError):
    """A row of the audit log was changed, removed or put in."""

    code = "audit_broken"
