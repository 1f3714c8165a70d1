"""A deployment plan: what of a file is sent, and what of the running server stays."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.deployment_plan import plan_deployment, read_deployment
from cluster.exit_code import CommandFailed, ExitCode
from models.errors import InvalidConfiguration
from tests.conftest import PROJECT

FILES = ["serve_config.yaml", "configs/cluster.yaml", "configs/colocated.yaml", "configs/gpu.yaml"]


@pytest.fixture
def document() -> dict[str, Any]:
    return read_deployment(PROJECT / "serve_config.yaml")


def _running(document: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What Serve says of itself when it runs a document."""
    return {
        "http_options": document["http_options"],
        "grpc_options": document.get("grpc_options"),
        **options,
        "applications": {
            each["name"]: {"source": "declarative", "deployed_app_config": copy.deepcopy(each)}
            for each in document["applications"]
        },
    }


def _classifier(document: dict[str, Any]) -> dict[str, Any]:
    (application,) = (each for each in document["applications"] if each["name"] == "dermserve")
    (found,) = (each for each in application["deployments"] if each["name"] == "classifier")
    result: dict[str, Any] = found
    return result


@pytest.mark.parametrize("name", FILES)
def test_the_files_that_ship_are_valid_and_sent_as_they_are(name: str) -> None:
    document = read_deployment(PROJECT / name)
    assert document == yaml.safe_load((PROJECT / name).read_text())
    for running in ({}, {"applications": {}}, _running(document)):
        plan = plan_deployment(document, running)
        assert plan.notes == ()
        assert plan.removed == ()
        assert (
            plan.document["applications"][0]["deployments"]
            == (document["applications"][0]["deployments"])
        )
    assert plan.added == ()
    assert plan_deployment(document, {}).added == tuple(plan.applications)


def _changed(path: Path, *keys: Any, to: Any) -> Path:
    document = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("keys", "to", "said"),
    [
        (("aplications",), [], "aplications"),
        (("applications", 0, "rout_prefix"), "/x", r"applications\.0\.rout_prefix"),
        (("applications", 0, "deployments", 0, "replicas"), 2, r"deployments\.0\.replicas"),
        (
            ("applications", 0, "deployments", 0, "autoscaling_config", "minimum"),
            1,
            r"autoscaling_config\.minimum",
        ),
        (("http_options", "prt"), 1, r"http_options\.prt"),
        (("http_options", "port"), "many", r"http_options\.port"),
        (("applications", 0, "import_path"), 7, "import_path"),
        (("applications", 1, "name"), "dermserve", "dermserve"),
        (("applications",), "none", "applications"),
    ],
)
def test_what_serve_would_pass_over_or_refuse_is_refused(
    tmp_path: Path, keys: tuple[Any, ...], to: Any, said: str
) -> None:
    path = _changed(tmp_path / "a [red] file.yaml", *keys, to=to)
    with pytest.raises(CommandFailed, match=said) as raised:
        read_deployment(path)
    assert raised.value.exit_code == ExitCode.USAGE
    assert str(path) in raised.value.message


@pytest.mark.parametrize(
    ("keys", "to", "said"),
    [
        (("applications", 0, "args", "max_batch_size"), -1, "max_batch_size"),
        (("applications", 0, "args", "batch"), 1, "batch"),
        (("applications", 0, "deployments", 2, "user_config"), {"modell": "2"}, "modell"),
    ],
)
def test_what_our_application_would_refuse_is_refused(
    tmp_path: Path, keys: tuple[Any, ...], to: Any, said: str
) -> None:
    with pytest.raises(InvalidConfiguration, match=said):
        read_deployment(_changed(tmp_path / "config.yaml", *keys, to=to))


@pytest.mark.parametrize("text", ["", "[1, 2", "words", "http_options: {}", "\0"])
def test_what_is_no_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises((CommandFailed, InvalidConfiguration), match=str(path)):
        read_deployment(path)


def test_what_the_trainer_has_written_stays(document: dict[str, Any]) -> None:
    """Otherwise replicas would report no rollout, and the trainer take the version back."""
    running = copy.deepcopy(document)
    for each in running["applications"][0]["deployments"]:
        if "user_config" in each:
            each["user_config"] = {**each["user_config"], "generation": 7}
    _classifier(running)["user_config"] |= {"standby": "2", "shadow_share": 0.5}
    _classifier(running)["autoscaling_config"] |= {"min_replicas": 1}
    plan = plan_deployment(document, _running(running))
    assert _classifier(plan.document)["user_config"] == {
        "model": "champion",
        "standby": "2",
        "shadow_share": 0.5,
        "generation": 7,
    }
    explainer = plan.document["applications"][0]["deployments"][3]
    assert explainer["user_config"] == {"model": "champion", "generation": 7}
    assert "user_config" not in plan.document["applications"][0]["deployments"][0]


def test_the_replicas_that_watch_a_version_stay(document: dict[str, Any]) -> None:
    running = copy.deepcopy(document)
    _classifier(running)["user_config"] = {"model": "champion", "shadow_share": 0.5}
    _classifier(running)["autoscaling_config"] = {"min_replicas": 3, "max_replicas": 4}
    _classifier(document)["autoscaling_config"] = {"min_replicas": 1, "max_replicas": 2}
    plan = plan_deployment(document, _running(running))
    assert _classifier(plan.document)["autoscaling_config"] == {
        "min_replicas": 2,  # as many as the file allows
        "max_replicas": 2,
    }
    assert "watched" in plan.notes[0]
    _classifier(running)["user_config"]["shadow_share"] = 0.0
    plan = plan_deployment(document, _running(running))
    assert _classifier(plan.document)["autoscaling_config"]["min_replicas"] == 1


def test_a_pin_moves_no_model_unless_it_is_meant(document: dict[str, Any]) -> None:
    pinned = copy.deepcopy(document)
    _classifier(pinned)["user_config"] = {"model": "1"}
    with pytest.raises(CommandFailed, match=r"pins the model to 1.*champion") as raised:
        plan_deployment(pinned, _running(document))
    assert raised.value.exit_code == ExitCode.REFUSED
    plan = plan_deployment(pinned, _running(document), pin=True)
    assert _classifier(plan.document)["user_config"] == {"model": "1"}
    # The same pin again moves nothing, and the end of one is what DESIGN says of a champion.
    assert plan_deployment(pinned, _running(pinned)).notes == ()
    assert _classifier(plan_deployment(document, _running(pinned)).document)["user_config"] == {
        "model": "champion"
    }
    # Where nothing serves yet, there is nothing to move.
    assert plan_deployment(pinned, {}).notes == ()


def test_the_end_of_a_pin_is_advised_by_nobody_and_said(document: dict[str, Any]) -> None:
    pinned, other = copy.deepcopy(document), copy.deepcopy(document)
    _classifier(pinned)["user_config"] = {"model": "3"}
    _classifier(other)["user_config"] = {"model": "1"}
    with pytest.raises(CommandFailed, match="Write `model: 3`, and the version that serves goes"):
        plan_deployment(other, _running(pinned))
    assert plan_deployment(document, _running(pinned)).notes == (
        "The pin to version 3 ends: replicas change over to the champion.",
    )


def test_addresses_stay_until_the_server_starts_anew(document: dict[str, Any]) -> None:
    running = _running(document, http_options={"host": "127.0.0.1", "port": 8080})
    plan = plan_deployment(document, running)
    assert plan.document["http_options"]["port"] == 8080
    assert plan.document["http_options"]["request_timeout_s"] == 30
    (note,) = plan.notes
    assert "http_options.port stays 8080" in note
    assert document["http_options"]["port"] == 8000


def test_the_gpu_that_up_has_given_stays(document: dict[str, Any]) -> None:
    running = copy.deepcopy(document)
    running["applications"][0]["args"]["classifier_gpus"] = 1
    plan = plan_deployment(document, _running(running))
    assert plan.document["applications"][0]["args"]["classifier_gpus"] == 1
    assert "keeps its 1 GPU" in plan.notes[0]
    document["applications"][0]["args"]["classifier_gpus"] = 0
    plan = plan_deployment(document, _running(running))
    assert plan.document["applications"][0]["args"]["classifier_gpus"] == 0


def test_what_is_not_in_the_file_ends(document: dict[str, Any]) -> None:
    running = _running(document)
    del document["applications"][1]
    plan = plan_deployment(document, running)
    assert (plan.added, plan.removed) == ((), ("trainer",))
