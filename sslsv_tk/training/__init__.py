"""The training loop: epochs, steps, optimiser, exact resume; knows no method by name."""
