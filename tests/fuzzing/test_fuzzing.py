"""A minute of fuzzing: mutated files and bodies are answered or refused, and nothing else.

`python -m tests.fuzzing` does the same for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.campaign import Tally, work
from tests.fuzzing.oracle import MAX_CPU_S, MAX_MEMORY_BYTES
from tests.fuzzing.targets import TARGETS

# Work, and not time: each takes some seconds. A fixed seed makes every run the same.
CASES = {"decode": 3_000, "clean": 2_000, "examine": 1_000, "archive": 600, "v2 over http": 300}
DEFAULT_CASES = 1_200
SEED = 1

# What has to come of the cases, or the mutations do not reach what they are for.
COME_TO = {
    "decode": {"answered", "truncated_image", "unsupported_image", "image_too_large"},
    "clean": {"answered", "truncated_image", "unsupported_image", "image_too_large"},
    "examine": {"answered", "truncated_image", "unsupported_image", "image_too_large"},
    "predict body": {"answered", "malformed_request", "missing_file", "too_many_files"},
    "batch body": {"answered", "malformed_request", "missing_file"},
    "upload form": {"answered", "malformed_request", "missing_file", "labels_mismatch"},
    "manifest": {"answered", "invalid_field", "labels_mismatch"},
    "label map": {"answered", "invalid_field", "labels_mismatch"},
    "small json": {"answered"},
    "v2 over http": {"answered", "malformed_request"},
    "v2 over grpc": {"answered", "malformed_request"},
    "archive": {"answered", "invalid_dataset"},
}


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_does_harm(target: str, tmp_path: Path) -> None:
    tally = Tally()
    cases = CASES.get(target, DEFAULT_CASES)
    work(target, tmp_path, SEED, tally=tally, cases=cases)
    details = [path.read_text() for path in tmp_path.glob("*.json")]
    assert not tally.findings, "\n".join(details)
    assert tally.cases == sum(tally.codes.values()) == cases
    assert tally.codes.keys() >= COME_TO[target]
    assert tally.slowest_s <= MAX_CPU_S
    assert tally.peak_bytes <= MAX_MEMORY_BYTES
