"""A handover: a rollout that was still observed ends, the next begins with what it held."""

from __future__ import annotations

from data.catalogue.rollouts import Ending, Rollout, RolloutKind, Rollouts, RolloutState


def begin_after(
    rollouts: Rollouts,
    observed: Rollout | None,
    kind: RolloutKind,
    *,
    from_version: str,
    to_version: str,
    actor: str,
    state: RolloutState,
    run_id: int | None = None,
    gate_hash: str | None = None,
    reason: str | None = None,
    forced: bool = False,
) -> Rollout:
    """Begin a rollout; one that is still observed ends, and what it held is held on.

    Args:
        rollouts: of the catalogue.
        observed: the active rollout, if there is one.
        kind, from_version, to_version, actor, state, run_id, gate_hash: as `Rollouts.begin`
            takes them.
        forced: as `Rollouts.begin` takes it.
        reason: why the observed one did not hold; None if it only was followed by another.

    Raises:
        RolloutActive: if another one began meanwhile.
    """
    ending = None
    if observed is not None:
        ending = Ending(
            observed.id,
            "completed" if reason is None else "reverted",
            reason or f"Followed by a {kind} to version {to_version}.",
        )
    return rollouts.begin(
        kind,
        from_version,
        to_version,
        actor,
        state,
        run_id=run_id,
        gate_hash=gate_hash,
        autoscaling=None if observed is None else observed.autoscaling,
        after=ending,
        forced=forced,
    )
