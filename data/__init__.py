"""The data: HAM10000 import, lesion-grouped splits and synthetic images."""
