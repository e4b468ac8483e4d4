"""Spherical k-means, the members of its clusters, and how well two labelings agree."""
