"""Layers that encoders and methods share."""
