"""The steps of full_size.py, in the order in which they run."""

from full_size_steps import data, training
from full_size_steps.site import Step

STEPS: dict[str, Step] = {**data.STEPS, **training.STEPS}
