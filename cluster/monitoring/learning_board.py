"""The dashboard of learning: from uploads through runs and the gate to the champion, and drift."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from cluster.monitoring.board import board
from cluster.monitoring.panels import BAD, GOOD, WARNING, Query, graph, number, rows, states

_NO_YES = {"0": "no", "1": "yes"}


def _lately(aggregation: str, gauge: str) -> str:
    """What is told so rarely that it comes and goes between two scrapes."""
    return f"{aggregation}(last_over_time({gauge}[5m]))"


def learning_board() -> Dashboard:
    """The dashboard."""
    return board(
        "dermserve-learning",
        "DermServe: learning",
        "What was uploaded, what was learned from it, what the gate let pass, and whether live "
        "images still look like those that the model knows.",
        "now-7d",
        {
            "Now": _now(),
            "Uploads": _uploads(),
            "Runs": _runs(),
            "Gate and rollouts": _gate(),
            "Drift": _drift(),
        },
    )


def _now() -> list[Panel]:
    """What a glance is for."""
    return [
        number(
            "Champion",
            "Version that the registry calls champion.",
            Query(
                "max by (version) (ray_dermserve_champion_registered_timestamp_seconds)",
                "{{version}}",
            ),
            named=True,
        ),
        number(
            "Age of the champion",
            "Since it was put into this registry.",
            Query("time() - max(ray_dermserve_champion_registered_timestamp_seconds)"),
            unit="s",
        ),
        number(
            "New images",
            "Labelled images that no run has learned from.",
            Query("sum(max by (label) (ray_dermserve_retraining_new_images))"),
        ),
        number(
            "Missing until a retraining",
            "New labelled images that are still to come; classes may want more of theirs.",
            Query(
                "clamp_min(max(ray_dermserve_retraining_threshold) "
                "- sum(max by (label) (ray_dermserve_retraining_new_images)), 0)"
            ),
        ),
        number(
            "Review queue",
            "Uploads that wait for a label.",
            Query("max(ray_dermserve_uploads_unlabelled)"),
        ),
        number(
            "Since the last run",
            "Time since a retraining ended, however it did.",
            Query("time() - max(ray_dermserve_retraining_finished_timestamp_seconds)"),
            unit="s",
        ),
        states(
            "Within reach",
            "Whether the trainer reached the catalogue and the registry.",
            Query("max by (dependency) (ray_dermserve_dependency_up)"),
            texts=_NO_YES,
            steps=((1, GOOD),),
            below=BAD,
            width=24,
        ),
    ]


def _uploads() -> list[Panel]:
    """What came, and what became of it."""
    return [
        graph(
            "Verdicts",
            "Images uploaded in an hour, by what became of them.",
            Query("sum by (verdict) (increase(ray_dermserve_uploads_total[1h]))"),
            stacked=True,
        ),
        graph(
            "Labelled",
            "Uploads that the catalogue keeps with a label, by class.",
            Query("max by (label) (ray_dermserve_uploads_labelled)"),
            stacked=True,
        ),
        graph(
            "New until a retraining",
            "Labelled images that no run has learned from, and how many start one.",
            Query("sum(max by (label) (ray_dermserve_retraining_new_images))", "new"),
            Query("max(ray_dermserve_retraining_threshold)", "threshold"),
        ),
        graph(
            "Without a label",
            "Uploads that wait for review.",
            Query("max(ray_dermserve_uploads_unlabelled)", ""),
            width=12,
        ),
        graph(
            "Errors of the archive",
            "What it could not do in an hour, through no fault of whoever asked.",
            Query("sum by (code) (increase(ray_dermserve_archive_errors_total[1h]))"),
            width=12,
        ),
    ]


def _runs() -> list[Panel]:
    """How retraining goes."""
    return [
        graph(
            "Outcomes",
            "Runs of retraining in the catalogue, by state.",
            Query("max by (state) (ray_dermserve_retraining_runs)"),
        ),
        graph(
            "Under way",
            "How far the present run is.",
            Query("max(ray_dermserve_retraining_progress)", ""),
            unit="percentunit",
        ),
        graph(
            "Silence",
            "Seconds since the last sign of life of the run under way.",
            Query("max(ray_dermserve_retraining_silence_seconds)", ""),
            unit="s",
            limit=120,
        ),
    ]


def _gate() -> list[Panel]:
    """What challengers had to show, and what came of them."""
    return [
        states(
            "Rules",
            "Which rules of the gate the last challenger kept.",
            Query("max by (rule) (ray_dermserve_gate_rule_passed)"),
            texts={"0": "refused", "1": "kept"},
            steps=((1, GOOD),),
            below=BAD,
        ),
        rows(
            "What the rules found",
            "In the last challenger; `configs/promotion.yaml` says what each is held to.",
            Query("max by (rule) (ray_dermserve_gate_rule_value)"),
        ),
        rows(
            "What they hold it to",
            "The bound of each rule for the last challenger.",
            Query("max by (rule) (ray_dermserve_gate_rule_bound)"),
        ),
        number(
            "Last challenger",
            "Whether the gate let it pass.",
            Query("max(ray_dermserve_gate_passed)"),
            texts={"0": "refused", "1": "passed"},
            steps=((1, GOOD),),
            below=WARNING,
            width=24,
        ),
        states(
            "Rollout",
            "State of the newest rollout.",
            Query("max by (state) (ray_dermserve_rollout_state)"),
            texts=_NO_YES,
            steps=((1, GOOD),),
            below="transparent",
        ),
        graph(
            "Rollouts",
            "Rollouts in the catalogue, by kind and state.",
            Query("max by (kind, state) (ray_dermserve_rollouts) > 0", "{{kind}}: {{state}}"),
        ),
        graph(
            "Champion on the test images",
            "What each champion reached on the frozen test images.",
            Query(
                "max by (version, metric) (ray_dermserve_champion_test_metric"
                '{metric=~"accuracy|balanced_accuracy|macro_auc"})',
                "{{version}}: {{metric}}",
            ),
            least=None,
        ),
    ]


def _drift() -> list[Panel]:
    """Whether live images still look like those that the model knows."""
    return [
        graph(
            "Embeddings",
            "Maximum mean discrepancy between the features of live images and of those "
            "that the model was validated on; about 0 without drift.",
            Query(_lately("max", "ray_dermserve_drift_embedding_mmd"), ""),
            least=None,
            width=6,
        ),
        graph(
            "Answers",
            "Distance between the classes that live images are given and those that the "
            "validation images were.",
            Query(_lately("max", "ray_dermserve_drift_class_mix_distance"), ""),
            width=6,
        ),
        graph(
            "Chance",
            "How likely so much drift is by chance alone; below 0.01 for an hour, an alert fires.",
            Query(_lately("min", "ray_dermserve_drift_embedding_p_value"), "embeddings"),
            Query(_lately("min", "ray_dermserve_drift_class_mix_p_value"), "answers"),
            limit=0.01,
            width=6,
        ),
        graph(
            "Accuracy",
            "Estimated on live images from calibrated probabilities, without labels, "
            "beside the champion's on the frozen test images.",
            Query(_lately("min", "ray_dermserve_estimated_accuracy"), "estimated"),
            Query('max(ray_dermserve_champion_test_metric{metric="accuracy"})', "on the test"),
            unit="percentunit",
            least=None,
            width=6,
        ),
    ]
