-- Run once, when the volume is new: the registry has a database of its own beside the catalogue's.
CREATE DATABASE mlflow;
