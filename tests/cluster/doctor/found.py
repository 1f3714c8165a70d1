"""What tests ask of findings."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.doctor.finding import Finding, Verdict


def one(findings: Sequence[Finding], verdict: Verdict) -> Finding:
    """The only finding of a verdict."""
    found = [each for each in findings if each.verdict == verdict]
    assert len(found) == 1, findings
    if verdict in ("warning", "wrong"):
        assert found[0].mend, found
    return found[0]


def verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    return [each.verdict for each in findings]
