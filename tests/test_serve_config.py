"""`serve_config.yaml` is valid, complete and in step with the code."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from models.errors import InvalidConfiguration
from serve_app.app import build
from serve_app.classifier_config import ClassifierConfig
from serve_app.settings import ServeSettings
from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load((PROJECT / "serve_config.yaml").read_text())


def _deployments(document: Any) -> dict[str, Any]:
    application = document["applications"][0]
    assert application["name"] == "dermserve"
    return {deployment["name"]: deployment for deployment in application["deployments"]}


def test_serve_accepts_it(document: Any) -> None:
    ServeDeploySchema.model_validate(document)


def test_it_listens_on_loopback_and_bounds_every_request(document: Any) -> None:
    assert document["http_options"]["host"] == "127.0.0.1"
    assert document["http_options"]["request_timeout_s"] > 0


def test_every_deployment_is_named_and_carries_its_autoscaling_block(document: Any) -> None:
    deployments = _deployments(document)
    assert list(deployments) == [
        "ingress",
        "preprocessor",
        "classifier",
        "explainer",
        "archive",
    ]
    for deployment in deployments.values():
        assert deployment["autoscaling_config"]["min_replicas"] >= 1
        assert deployment["autoscaling_config"]["max_replicas"] >= 1
        # These would replace what build() derives from the largest batch.
        assert not {"max_ongoing_requests", "max_queued_requests"} & deployment.keys()


def test_the_autoscaling_target_follows_from_the_largest_batch(document: Any) -> None:
    settings = ServeSettings.model_validate(document["applications"][0]["args"])
    targets = {
        name: deployment["autoscaling_config"]["target_ongoing_requests"]
        for name, deployment in _deployments(document).items()
    }
    assert targets == {
        "ingress": settings.ingress_target,
        "preprocessor": settings.stage_target,
        "classifier": settings.stage_target,
        "explainer": settings.stage_target,
        "archive": settings.stage_target,
    }


def test_our_deadline_comes_before_serve_hangs_up(document: Any) -> None:
    settings = ServeSettings.model_validate(document["applications"][0]["args"])
    assert settings.deadline_s < document["http_options"]["request_timeout_s"]


def test_the_classifier_serves_the_champion(document: Any) -> None:
    config = ClassifierConfig.model_validate(_deployments(document)["classifier"]["user_config"])
    assert config.model == "champion"


def test_the_explainer_explains_the_classifiers_model(document: Any) -> None:
    deployments = _deployments(document)
    assert deployments["explainer"]["user_config"] == deployments["classifier"]["user_config"]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"engine": "tensorrt"}, "engine"),
        ({"batch": 8}, "batch"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(args: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidConfiguration, match=named):
        build(args)
