"""Waveforms to augmented, normalised log-mel frames, batched, on the device of the model."""
