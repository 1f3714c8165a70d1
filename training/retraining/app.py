"""The trainer application: retraining and rollouts, as a second application beside the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from configs import FOLDER
from models.configuration import read_config, validate
from training.promotion.gate_file import PROMOTION_FILE, GateFile
from training.retraining.deployment import Trainer
from training.settings import TrainingSettings


class TrainerArgs(BaseModel):
    """The `args` of the application in serve_config.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Path = Field(FOLDER / "training.yaml", description="recipe and `retrain:` of runs")
    promotion: Path = Field(PROMOTION_FILE, description="the gate file that is enforced")
    base_images: Path | None = Field(
        None, description="folder with HAM10000, instead of retrain.base_images of the recipe"
    )


def build(args: dict[str, Any]) -> Application:
    """Compose the application of one replica that has no route.

    Args:
        args: fields of `TrainerArgs`.

    Raises:
        InvalidConfiguration: if a field, the recipe or the gate file breaks a rule.
    """
    chosen = validate(args, TrainerArgs, "The args of the trainer in serve_config.yaml")
    settings = read_config(chosen.training, TrainingSettings)
    if chosen.base_images is not None:
        document = settings.model_dump()
        document["retrain"]["base_images"] = chosen.base_images.absolute()
        settings = validate(document, TrainingSettings, "base_images of the trainer")
    deploy: Any = serve.deployment(
        name="trainer",
        # Never two at work: the lease of a run would keep the second one waiting.
        num_replicas=1,
        # It computes nothing itself, and must start where every CPU is taken.
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=200,
        health_check_period_s=1.0,  # as for the server's replicas
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10,
    )
    application: Application = deploy(Trainer).bind(settings, GateFile.load(chosen.promotion))
    return application
