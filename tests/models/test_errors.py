"""The error tree is part of the wire contract: statuses and codes that clients switch on."""

from __future__ import annotations

import pickle
from http import HTTPStatus

import pytest

from models import errors
from models.errors import DermServeError

CONTRACT = {
    "empty_image": 400,
    "truncated_image": 400,
    "unsupported_image": 415,
    "image_too_large": 422,
    "image_too_small": 422,
    "unknown_class": 422,
    "invalid_field": 422,
    "labels_mismatch": 422,
    "missing_file": 400,
    "malformed_request": 400,
    "body_too_large": 413,
    "too_many_files": 413,
    "not_found": 404,
    "method_not_allowed": 405,
    "run_active": 409,
    "no_run_active": 409,
    "rollout_active": 409,
    "already_champion": 409,
    "model_pinned": 409,
    "package_damaged": 409,
    "gate_refused": 409,
    "overloaded": 503,
    "model_unavailable": 503,
    "stage_unavailable": 503,
    "catalogue_unavailable": 503,
    "trainer_unavailable": 503,
    "deadline_exceeded": 504,
    "storage_full": 507,
    "invalid_package": 500,
    "invalid_configuration": 500,
    "invalid_dataset": 500,
    "internal_error": 500,
}
"""What has been promised. A change here breaks somebody's client."""

ERRORS = sorted(
    (
        member
        for member in vars(errors).values()
        if isinstance(member, type) and issubclass(member, DermServeError)
    ),
    key=lambda error: error.__name__,
)
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)


def test_the_promised_codes_and_statuses_hold() -> None:
    found = {error.code: error.status for error in ERRORS}
    assert CONTRACT.items() <= found.items()


def test_no_two_errors_share_a_code() -> None:
    assert len({error.code for error in ERRORS}) == len(ERRORS)


@every_error
def test_the_status_is_a_standard_error(error: type[DermServeError]) -> None:
    assert 400 <= HTTPStatus(error.status) < 600


@every_error
def test_the_code_is_its_name_in_snake_case(error: type[DermServeError]) -> None:
    spelled = "".join(f"_{c.lower()}" if c.isupper() else c for c in error.__name__).lstrip("_")
    assert error.code == ("internal_error" if error is DermServeError else spelled)


@every_error
def test_it_says_in_a_sentence_when_it_is_raised(error: type[DermServeError]) -> None:
    assert error.__doc__
    assert error.__doc__ != DermServeError.__doc__ or error is DermServeError


@every_error
def test_it_travels_between_processes_as_a_value(error: type[DermServeError]) -> None:
    message = "Größe 3 x 4 — send another image."
    copy = pickle.loads(pickle.dumps(error(message)))
    assert type(copy) is error
    assert (copy.message, str(copy), copy.args) == (message, message, (message,))
    assert (copy.status, copy.code, copy.retry_after_s) == (
        error.status,
        error.code,
        error(message).retry_after_s,
    )


@pytest.mark.parametrize(("wait_s", "said_s"), [(0.0, 1), (0.2, 1), (12.0, 12), (12.1, 13)])
def test_a_limit_names_whole_seconds_that_suffice(wait_s: float, said_s: int) -> None:
    error = errors.RateLimited("Later.", wait_s)
    assert error.retry_after_s == said_s
    assert pickle.loads(pickle.dumps(error)).retry_after_s == said_s


@every_error
def test_whoever_may_wait_is_told_how_long(error: type[DermServeError]) -> None:
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        assert error.retry_after_s is not None
        assert error.retry_after_s >= 1
    else:
        assert error.retry_after_s is None
