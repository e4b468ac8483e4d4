"""Stages 1 and 2: corpora on disk to data directories."""
