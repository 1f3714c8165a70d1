"""The model: architecture, preprocessing contract, calibration and packages."""
