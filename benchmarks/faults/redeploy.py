"""A rolling redeploy of code: every replica is replaced by one of another code version."""

from __future__ import annotations

import copy

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import Traffic
from training.promotion.serve_config import APPLICATION, ServeConfig


def redeploy(ground: Ground) -> Outcome:
    """Put a configuration whose application is built anew, and wait for all of its replicas."""

    def replicas() -> dict[str, str]:
        application = ground.details()["applications"][APPLICATION]
        return {
            replica["replica_id"]: replica["state"]
            for deployment in application["deployments"].values()
            for replica in deployment["replicas"]
        }

    def make(traffic: Traffic) -> float:
        config = ServeConfig(ground.dashboard_url)
        document = copy.deepcopy(config.read().document)
        for application in document["applications"]:
            if application["name"] == APPLICATION:
                # What an application is built with is part of its code version.
                args = application.setdefault("args", {})
                args["access_log"] = not args.get("access_log", True)
        before = replicas()
        config.write(document)

        def replaced() -> bool:
            now = replicas()
            return not now.keys() & before.keys() and set(now.values()) == {"RUNNING"}

        return ground.wait(lambda: replaced() and ground.serves(), "The last new replica")

    return outcome("redeploy", "rolling redeploy of code", ground, make)
