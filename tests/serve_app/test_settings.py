"""Settings: every limit follows from few numbers, and none contradicts another."""

from __future__ import annotations

import os
import pickle

import pytest
from pydantic import ValidationError

from data.clean_image import MAX_CLEAN_BYTES
from models.configuration import validate
from models.errors import InvalidConfiguration
from models.limits import DEFAULT_LIMITS
from models.preprocessing import IMAGE_SIZE
from serve_app.datapath import REPLICA_ENVIRONMENT
from serve_app.settings import MIB, ServeSettings

MESSAGE_BYTES = int(REPLICA_ENVIRONMENT["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"])
PIXEL_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3


@pytest.mark.parametrize("size", [1, 2, 32, 100, 256])
def test_no_queue_is_smaller_than_what_feeds_it(size: int) -> None:
    settings = ServeSettings(max_batch_size=size)
    assert settings.max_files >= size
    # One request with all its files must get in, and every lane find a full batch.
    assert settings.max_waiting >= settings.max_files
    assert settings.max_waiting >= settings.hop_lanes * size
    # A client must see our own 503, not Serve's.
    assert settings.ingress_ongoing_requests > settings.max_waiting
    assert settings.stage_ongoing_requests >= settings.hop_lanes
    # The lanes together carry more than one batch, in messages that are no larger than one.
    assert 1 <= settings.hop_batch_size <= size <= settings.hop_lanes * settings.hop_batch_size
    # A series gets in whole, and leaves as much to interactive work as it may take itself.
    assert settings.max_files <= settings.max_waiting_bulk <= settings.max_waiting / 2
    # A replica is added before the one there is turns requests away.
    assert size <= settings.ingress_target < settings.max_waiting


@pytest.mark.parametrize("size", [1, 32, 256])
def test_a_full_batch_fits_one_message(size: int) -> None:
    settings = ServeSettings(max_batch_size=size)
    assert settings.max_hop_bytes >= settings.max_image_bytes
    assert settings.max_hop_bytes < MESSAGE_BYTES
    assert size * PIXEL_BYTES < MESSAGE_BYTES


def test_an_image_that_fits_no_message_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_image_bytes"):
        ServeSettings(max_image_bytes=MESSAGE_BYTES)


def test_a_batch_that_holds_no_image_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_batch_bytes"):
        ServeSettings(max_image_bytes=20 * MIB, max_batch_bytes=MIB)


def test_a_batch_that_never_finds_room_is_refused() -> None:
    room = ServeSettings().max_waiting_bulk_bytes
    assert ServeSettings(max_batch_bytes=room).max_batch_bytes == room
    with pytest.raises(ValidationError, match=f"max_batch_bytes may be {room} at most"):
        ServeSettings(max_batch_bytes=room + 1)


def test_an_upload_that_holds_no_image_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_upload_bytes"):
        ServeSettings(max_image_bytes=20 * MIB, max_upload_bytes=MIB)


def test_what_the_archive_stores_fits_one_message() -> None:
    for settings in (ServeSettings(), ServeSettings(max_batch_size=1, max_image_bytes=MIB)):
        assert MAX_CLEAN_BYTES < MESSAGE_BYTES
        assert settings.max_upload_files >= settings.max_files
        assert settings.max_upload_bytes >= settings.max_image_bytes


def test_the_defaults_are_the_decoders() -> None:
    assert ServeSettings().image_limits == DEFAULT_LIMITS
    assert ServeSettings(max_pixels=123).image_limits.max_pixels == 123


def test_threads() -> None:
    assert ServeSettings(threads=3).effective_threads == 3
    assert ServeSettings().effective_threads == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_batch_size", 0),
        ("max_batch_size", 257),
        ("max_batch_size", 1.5),
        ("engine", "tensorrt"),
        ("classifier_cpus", -1),
        ("classifier_gpus", -0.5),
        ("threads", -1),
        ("deadline_s", 0),
        ("deadline_s", 26),
        ("max_image_bytes", 0),
        ("max_batch_bytes", 0),
        ("max_upload_bytes", 0),
        ("max_pixels", 0),
        ("body_timeout_s", 0),
        ("key_requests_per_minute", 0),
        ("key_bytes_per_minute", 0),
        ("retention_days", 0),
        ("retention_days", float("nan")),
        ("batch_size", 32),
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidConfiguration, match=f"serve_config.*{field}"):
        validate({field: value}, ServeSettings, "serve_config.yaml")


@pytest.mark.parametrize(
    "origin",
    ["*", "", "null", "example.org", "https://*.example.org", "https://example.org/", "ftp://a.b"],
)
def test_an_origin_is_named_whole(origin: str) -> None:
    with pytest.raises(InvalidConfiguration, match="allowed_origins"):
        validate({"allowed_origins": [origin]}, ServeSettings, "serve_config.yaml")


def test_a_key_may_send_the_largest_upload() -> None:
    with pytest.raises(InvalidConfiguration, match="at least max_upload_bytes"):
        validate({"key_bytes_per_minute": 10**6}, ServeSettings, "serve_config.yaml")


def test_settings_cannot_change_under_a_running_replica() -> None:
    settings = ServeSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.max_batch_size = 64


def test_settings_travel_to_replicas() -> None:
    settings = ServeSettings(max_batch_size=8, engine="torch-cpu")
    assert pickle.loads(pickle.dumps(settings)) == settings
