"""Alembic's folder: how the tables of the catalogue came to be, one file per step."""
