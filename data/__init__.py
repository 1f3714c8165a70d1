"""The data: HAM10000, lesion-grouped splits, synthetic images, and the catalogue of uploads."""
