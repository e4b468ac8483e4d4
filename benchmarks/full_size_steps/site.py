"""What a step is given: where it works, how much there is, and a clock for the part of it that counts."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from full_size_steps.tables import Size


@dataclass
class Site:
    """A folder with data/ and dump/, its size, and the seconds that the clock ran: on the wall, and of processors."""

    folder: Path
    size: Size
    files: int
    seconds: float = 0.0
    processor_seconds: float = 0.0

    @property
    def train(self) -> Path:
        """The data directory."""
        return self.folder / "data" / "train"

    @property
    def packed(self) -> Path:
        """The folder of packed audio."""
        return self.folder / "dump" / "train"

    @contextlib.contextmanager
    def clock(self) -> Iterator[None]:
        """Count the time of the block."""
        start, used = time.perf_counter(), sum(os.times()[:4])
        yield
        self.seconds += time.perf_counter() - start
        self.processor_seconds += sum(os.times()[:4]) - used


Work = Callable[[Site], str | None]


@dataclass(frozen=True)
class Step:
    """A line of the table: what it says, and the work, which may return a note."""

    what: str
    work: Work


def entering(steps: dict[str, Step]) -> Callable[[str], Callable[[Work], Work]]:
    """A decorator that enters a function into `steps` under its own name: @step("what the table says")."""

    def step(what: str) -> Callable[[Work], Work]:
        def enter(work: Work) -> Work:
            steps[work.__name__] = Step(what, work)
            return work

        return enter

    return step
