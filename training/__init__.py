"""Learning: from labelled images to a model package."""
