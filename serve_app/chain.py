"""The chain: the deployments that a prediction passes."""

from __future__ import annotations

CHAIN = ("ingress", "preprocessor", "classifier")
"""In order."""
