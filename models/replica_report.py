"""What a classifier replica says of itself to the trainer: its models, and how they do."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.live_sample import LiveSample


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """One replica since its newest configuration took effect.

    Until then it reports the state before it, under the old generation.
    """

    replica_id: str
    """Serve's id of the replica; another one of the same deployment begins at zero."""
    generation: int
    """`generation` of the configuration that `version` and the errors belong to."""
    version: str | None
    """The version that answers; None if none is loaded."""
    standby: str | None
    """The version kept warm beside it; None if none is wished for, or until it is loaded."""
    load_error: str | None
    """Why the model that was wished for does not answer; the one before it goes on."""
    standby_error: str | None
    """Why the standby that was wished for is not there."""
    live_images: int
    """Images that were to be classified, those that failed included."""
    live_errors: int
    """Images that got an error of the model, or of there being none."""
    shadow_images: int
    """Live images that the standby has scored too."""
    disagreements: int
    """Of these, images on which it predicts another class."""
    dropped: int
    """Images chosen for the standby that it will not score, because it was behind or failed."""
    live_forward_s: float
    """Seconds of network on live images, summed over images; of a batch, each has its share."""
    shadow_forward_s: float
    """The same of the standby."""
    sample: LiveSample | None = field(default=None, compare=False)
    """Of the images that `version` answered since the last report; None if none is loaded."""
