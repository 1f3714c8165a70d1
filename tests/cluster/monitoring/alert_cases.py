"""For each alert, minutes of measurements in which it is quiet at first and fires later."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """Series as promtool writes them, a value a minute: `0x30 1x30` is 0 for half an hour, then 1.

    The condition holds from minute 31 on.
    """

    series: dict[str, str]
    fires: int
    """Minute at which it fires."""
    summary: str
    """What it says then."""
    quiet: tuple[int, ...] = (29,)
    """Minutes at which it does not fire; with a `for`, one in which the condition holds."""
    labels: dict[str, str] = field(default_factory=dict)


_REPLICA = (
    "ray_serve_deployment_replica_{}"
    '{{application="dermserve",deployment="classifier",replica="{}"}}'
)
_LATER = [(minute, f"later-{minute}") for minute in range(1, 9)]
"""Replicas that start in the minutes after the thirtieth, and end at once."""

_UP = {'up{job="dermserve"}': "1x120"}


def _requests(status: str) -> dict[str, str]:
    """Ten good requests a second all the time, one bad one from minute 31 on."""
    counter = "ray_serve_num_http_requests_total"
    return {
        f'{counter}{{status_code="200",route="/predict"}}': "0+600x120",
        f'{counter}{{status_code="{status}",route="/predict"}}': "0x30 60+60x90",
    }


def _bucket(le: str, values: str) -> dict[str, str]:
    labels = f'stage="ingress",phase="total",le="{le}"'
    return {f"ray_dermserve_phase_seconds_bucket{{{labels}}}": values}


CASES = {
    "DermserveDown": Case(
        {'up{job="dermserve"}': "1x30 0x30"},
        fires=33,
        quiet=(29, 31),
        summary="The server does not answer GET /metrics.",
        labels={"job": "dermserve"},
    ),
    "DermserveErrors": Case(
        _requests("500"),
        fires=41,
        quiet=(29, 33),
        summary="9.091% of the requests end in an error of the server.",
    ),
    "DermserveOverloaded": Case(
        _requests("503"),
        fires=50,
        quiet=(29, 38),
        summary="9.091% of the requests are turned away with 503.",
    ),
    "DermserveLate": Case(
        _requests("504"),
        fires=41,
        quiet=(29, 33),
        summary="9.091% of the requests pass their deadline (504).",
    ),
    "DermserveSlow": Case(
        {
            **_bucket("1.0", "0+600x30 18000x90"),
            **_bucket("2.0", "0+600x120"),
            **_bucket("+Inf", "0+600x120"),
        },
        fires=50,
        quiet=(29, 36),
        summary="One prediction in a hundred takes over 1.99s.",
    ),
    "DermserveModelNotLoaded": Case(
        {
            'ray_dermserve_model_load_failed{deployment="classifier",replica="a"}': "0x30 1x30",
            'ray_dermserve_model_load_failed{deployment="classifier",replica="b"}': "0x60",
        },
        fires=34,
        quiet=(29, 32),
        summary="Replicas of classifier that could not load their model: 1.",
        labels={"deployment": "classifier"},
    ),
    "DermserveMixedVersions": Case(
        {
            'ray_dermserve_model_held{role="serving",version="1",replica="a"}': "1x60",
            'ray_dermserve_model_held{role="serving",version="1",replica="b"}': "1x60",
            # A standby is no answer.
            'ray_dermserve_model_held{role="standby",version="0",replica="b"}': "1x60",
            'ray_dermserve_model_held{role="serving",version="2",replica="c"}': "_x30 1x30",
        },
        fires=42,
        quiet=(29, 39),
        summary="2 versions of the model answer at the same time.",
    ),
    "DermserveDeploymentUnhealthy": Case(
        {
            'ray_serve_deployment_status{application="dermserve",deployment="archive"}': "6x30 2x9",
            'ray_serve_deployment_status{application="dermserve",deployment="ingress"}': "3x40",
        },
        fires=33,
        quiet=(29, 31),
        summary="Serve calls archive of dermserve unhealthy.",
        labels={"application": "dermserve", "deployment": "archive"},
    ),
    "DermserveReplicasRestart": Case(
        {
            _REPLICA.format("starts_total", "first"): "1x120",
            _REPLICA.format("healthy", "first"): "1x30",
            # What a replica counted stays when it is gone.
            **{_REPLICA.format("starts_total", name): f"_x{30 + n} 1x90" for n, name in _LATER},
            **{_REPLICA.format("healthy", name): f"_x{30 + n} 1 stale" for n, name in _LATER},
        },
        fires=37,
        quiet=(29, 33, 80),
        summary="classifier has started 7 replicas in 30 minutes.",
        labels={"application": "dermserve", "deployment": "classifier"},
    ),
    "DermserveTrainerAway": Case(
        {**_UP, 'ray_dermserve_dependency_up{dependency="catalogue"}': "1x30"},
        fires=40,
        quiet=(29, 36),
        summary="The trainer tells nothing; no retraining and no rollout goes on.",
    ),
    "DermserveCatalogueAway": Case(
        {
            'ray_dermserve_dependency_up{dependency="catalogue"}': "1x30 0x30",
            'ray_dermserve_dependency_up{dependency="registry"}': "1x60",
        },
        fires=33,
        quiet=(29, 31),
        summary="The trainer has not reached the catalogue for two minutes.",
    ),
    "DermserveRegistryAway": Case(
        {
            # Whoever is away answers late: the trainer's word comes with gaps.
            'ray_dermserve_dependency_up{dependency="registry"}': "1x30 0 _ 0 _ 0 _ 0 _ 0",
            'ray_dermserve_dependency_up{dependency="catalogue"}': "1x60",
        },
        fires=34,
        quiet=(29, 31),
        summary="The trainer has not reached the model registry for two minutes.",
    ),
    "DermserveStorageFull": Case(
        {
            'ray_dermserve_archive_errors_total{code="storage_full"}': "0x30 3x60",
            'ray_dermserve_archive_errors_total{code="internal_error"}': "0+1x90",
        },
        fires=33,
        quiet=(29, 45),
        summary="Uploads are refused because the disk is full.",
    ),
    "DermserveUploadsFail": Case(
        {
            'ray_dermserve_uploads_total{verdict="failed"}': "0x30 9x60",
            'ray_dermserve_uploads_total{verdict="rejected"}': "0+1x90",
        },
        fires=40,
        quiet=(29, 45),
        summary="9 uploaded images were not stored in the last 10 minutes.",
    ),
    "DermserveRetrainingSilent": Case(
        {"ray_dermserve_retraining_silence_seconds": "0x30 60+60x30"},
        fires=35,
        quiet=(29, 32),
        summary="The retraining under way has given no sign for 5m 0s.",
    ),
    "DermserveRetrainingFailed": Case(
        {
            # A trainer that is replaced says the same under another name.
            'ray_dermserve_retraining_runs{state="failed",replica="a"}': "4x10",
            'ray_dermserve_retraining_runs{state="failed",replica="b"}': "_x11 4x19 5x90",
            'ray_dermserve_retraining_runs{state="refused",replica="b"}': "0+1x120",
        },
        fires=35,
        quiet=(29, 100),
        summary="A retraining failed within the last hour.",
    ),
    "DermserveChallengersRefused": Case(
        {'ray_dermserve_retraining_runs{state="refused"}': "7x30 8x10 9x10 10x10"},
        fires=55,
        quiet=(29, 45),
        summary="The gate has refused 3 challengers within a day.",
    ),
    "DermserveRolledBack": Case(
        {
            'ray_dermserve_rollouts{kind="automatic_rollback",state="switching"}': "0x30 1 0x90",
            'ray_dermserve_rollouts{kind="automatic_rollback",state="completed"}': "2x31 3x90",
            'ray_dermserve_rollouts{kind="promotion",state="completed"}': "0+1x120",
        },
        fires=31,
        quiet=(29, 100),
        summary="A new model did worse on live images than allowed, and was rolled back.",
    ),
    "DermserveRolloutFailed": Case(
        {
            'ray_dermserve_rollouts{kind="promotion",state="failed"}': "0x30 1x90",
            'ray_dermserve_rollouts{kind="promotion",state="completed"}': "0+1x120",
        },
        fires=31,
        quiet=(29, 100),
        summary="A rollout was given up within the last hour.",
    ),
    "DermserveRolloutStuck": Case(
        {
            'ray_dermserve_rollout_state{state="switching"}': "0x30 1x60",
            'ray_dermserve_rollout_state{state="completed"}': "1x30 0x60",
        },
        fires=62,
        quiet=(29, 59),
        summary="A rollout has been under way for half an hour.",
    ),
    "DermserveEmbeddingDrift": Case(
        {"ray_dermserve_drift_embedding_p_value": "_x15 0.5x15 0.001x90"},
        fires=92,
        quiet=(10, 29, 89),
        summary="Live images look different from those that the model was validated on.",
    ),
    "DermserveClassMixDrift": Case(
        {"ray_dermserve_drift_class_mix_p_value": "_x15 0.5x15 0.001x90"},
        fires=92,
        quiet=(10, 29, 89),
        summary="The model gives other answers to live images than to those it was validated on.",
    ),
    "DermserveAccuracyDrop": Case(
        {
            "ray_dermserve_estimated_accuracy": "_x15 0.75x15 0.6x90",
            'ray_dermserve_champion_test_metric{version="2",metric="accuracy"}': "0.785x120",
            'ray_dermserve_champion_test_metric{version="2",metric="macro_auc"}': "0.965x120",
        },
        fires=92,
        quiet=(10, 29, 89),
        summary="The estimated accuracy on live images is 60%.",
    ),
    "DermserveNodesUnseen": Case(
        {**_UP, 'ray_node_cpu_count{ip="10.0.0.1"}': "2x30"},
        fires=42,
        quiet=(29, 38),
        summary="No node tells of its processors, memory and disk.",
    ),
    "DermserveNodeLost": Case(
        {
            'ray_node_cpu_count{ip="10.0.0.1"}': "2x120",
            'ray_node_cpu_count{ip="10.0.0.2"}': "2x30 stale",
        },
        fires=35,
        quiet=(29, 32, 100),
        summary="Nodes of Ray: 1, fewer than an hour ago.",
    ),
    "DermserveDiskFilling": Case(
        {
            'ray_node_disk_free{ip="10.0.0.1"}': "50x30 5x30",
            'ray_node_disk_usage{ip="10.0.0.1"}': "50x30 95x30",
            'ray_node_disk_free{ip="10.0.0.2"}': "50x60",
            'ray_node_disk_usage{ip="10.0.0.2"}': "50x60",
        },
        fires=42,
        quiet=(29, 39),
        summary="10.0.0.1 has 5% of its disk left.",
        labels={"ip": "10.0.0.1"},
    ),
    "DermserveMemoryHigh": Case(
        {
            'ray_node_mem_used{ip="10.0.0.1"}': "50x30 95x30",
            'ray_node_mem_total{ip="10.0.0.1"}': "100x60",
        },
        fires=42,
        quiet=(29, 39),
        summary="10.0.0.1 uses 95% of its memory.",
        labels={"ip": "10.0.0.1"},
    ),
}
