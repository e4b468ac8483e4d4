"""What a person who waits for an array is told of its tasks, each thing once."""

import time
from collections import Counter
from dataclasses import dataclass, field

from sslsv_tk.launch._slurm import states
from sslsv_tk.launch._slurm.scheduler import say

COMPLETING_SECONDS = 120.0
"""Slurm cleans a node up within seconds; after so many a person should look."""


@dataclass
class Notices:
    """What was said already."""

    reasons: set[str] = field(default_factory=lambda: {""})
    """For which a task waits; one line for a reason, however many tasks it holds up."""
    restarts: Counter[int] = field(default_factory=Counter)
    completing_since: dict[int, float] = field(default_factory=dict)

    def tell(self, number: int, job_id: str, state: states.TaskState) -> None:
        """Say what is new of a task and worth a line."""
        name = f"job {number} ({job_id}_{number})"
        if state.restarts > self.restarts[number]:
            say(f"{name} went back into the queue: it saved its state, lost its node or its place")
        self.restarts[number] = state.restarts
        if state.state != "COMPLETING":
            self.completing_since.pop(number, None)
        elif time.monotonic() - self.completing_since.setdefault(number, time.monotonic()) > COMPLETING_SECONDS:
            self._tell_reason(name, job_id, "its node does not end it (COMPLETING)")
        self._tell_reason(name, job_id, state.why_it_waits)

    def _tell_reason(self, name: str, job_id: str, reason: str) -> None:
        if reason not in self.reasons:
            say(f"{name} waits: {reason} (`scontrol show job {job_id}` says more)")
            self.reasons.add(reason)
