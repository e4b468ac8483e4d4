"""Cosine scores, error rates and their intervals; numpy and scipy only, so that scoring needs no torch."""
