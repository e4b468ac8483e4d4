"""Batches of training segments for the loop."""
