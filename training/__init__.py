"""Learning: from labelled images to a model package, and from uploads to the model that serves."""
