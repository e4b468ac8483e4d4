"""Settings that make every method small enough for 18 utterances in batches of 5."""

from typing import Any

_PAIR = {"segment_seconds": 0.4}

SMALL_METHODS: dict[str, dict[str, Any]] = {
    "barlow_twins": {**_PAIR, "hidden": 16, "output": 10},
    "byol": {**_PAIR, "hidden": 16, "output": 10},
    "dino": {
        "global_seconds": 0.4,
        "local_seconds": 0.3,
        "local_views": 2,
        "hidden": 16,
        "bottleneck": 8,
        "prototypes": 20,
    },
    "moco": {**_PAIR, "queue_size": 7},  # a batch and a half, so that batches wrap
    "simclr": _PAIR,
    "simsiam": {**_PAIR, "hidden": 12, "output": 10, "bottleneck": 4},
    "supervised": _PAIR,
    "swav": {**_PAIR, "hidden": [16], "projection": 8, "prototypes": 9, "queue_size": 7, "queue_epoch": 1},
    "vicreg": {**_PAIR, "hidden": 16, "output": 10},
}
"""By method; the rest of its settings keep their defaults."""


def small_optimisation(method: str) -> list[str]:
    """Overrides that give DINO its own optimiser and schedule, in a span of the small system's five epochs."""
    if method != "dino":
        return []
    return [
        "optimisation.optimiser=sgd",
        "optimisation.schedule=cosine",
        "optimisation.learning_rate=0.05",
        "optimisation.warm_up_epochs=1.5",
        "optimisation.weight_decay=5.0e-5",
        "optimisation.gradient_clip=3.0",
    ]
