"""The watch on the wall clock: a leap forward is noticed, and forgiven after a day."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from serve_app.clock_watch import LEAP_S, MISTRUST_S, ClockWatch

NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
HOUR_S = 3600.0


class _Machine:
    """A machine whose two clocks are moved by hand."""

    def __init__(self) -> None:
        self.wall, self.uptime_s = NOON, 5.0
        self._watch = ClockWatch(lambda: self.uptime_s)

    def trusts_after(self, seconds: float, leap_s: float = 0.0) -> bool:
        self.uptime_s += seconds
        self.wall += timedelta(seconds=seconds + leap_s)
        return self._watch.trusts(self.wall)


def test_a_clock_that_goes_is_trusted_however_long_nobody_looked() -> None:
    machine = _Machine()
    assert all(machine.trusts_after(seconds) for seconds in (0, HOUR_S, 90 * 86400, 1))


@pytest.mark.parametrize("leap_s", [-3 * 86400.0, -1.0, 1.0, LEAP_S - 1])
def test_what_an_adjustment_or_a_change_to_winter_time_does_is_trusted(leap_s: float) -> None:
    machine = _Machine()
    assert machine.trusts_after(0)
    assert machine.trusts_after(HOUR_S, leap_s)


def test_a_leap_forward_is_mistrusted_for_a_day_and_each_further_one_anew() -> None:
    machine = _Machine()
    assert machine.trusts_after(0)
    assert not machine.trusts_after(HOUR_S, leap_s=400 * 86400)
    assert not machine.trusts_after(MISTRUST_S - HOUR_S)
    assert not machine.trusts_after(HOUR_S - 1)
    assert machine.trusts_after(1)
    assert not machine.trusts_after(HOUR_S, leap_s=LEAP_S + 1)
    assert machine.trusts_after(MISTRUST_S)


def test_the_way_back_is_no_leap() -> None:
    machine = _Machine()
    assert machine.trusts_after(0)
    assert not machine.trusts_after(HOUR_S, leap_s=5 * 86400)
    assert not machine.trusts_after(HOUR_S, leap_s=-5 * 86400)
    assert machine.trusts_after(MISTRUST_S)
