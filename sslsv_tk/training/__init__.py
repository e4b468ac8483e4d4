"""The training loop, its step, optimiser, checkpoints and diagnostics; knows no method by name."""
