"""Run one side of a comparison: a checkout's own copy of a benchmark, which measures only when it is its turn.

    python3 turns.py CHECKOUT SCRIPT READ WRITE [options of the script]

READ and WRITE are pipes to the other side. A side that has measured one call hands the turn over and sleeps until it
comes back, so never two sides work at the same time, and their calls alternate: A B A B. Where the checkout has no such
script, ours runs with its package. Checkouts of before these turns have `seconds` and `best_of` in
benchmarks/machine.py, or a `seconds` of their own, and need nothing else.
"""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TURN, END = b"t", b"e"


class Turns:
    """The turn of this side, over two pipes."""

    def __init__(self, read: int, write: int) -> None:
        self.read, self.write, self.is_alone = read, write, False

    def wait(self) -> None:
        """Sleep until the other side has measured, or has ended."""
        if not self.is_alone:
            self.is_alone = os.read(self.read, 1) != TURN

    def hand_over(self, message: bytes = TURN) -> None:
        if not self.is_alone:
            os.write(self.write, message)

    def taking(self, seconds: Callable[..., Any]) -> Callable[..., Any]:
        """`seconds` of a script: each call is a turn, and each of several repeats is one."""

        def one_turn(*arguments: Any) -> Any:
            found = seconds(*arguments)
            self.hand_over()
            self.wait()
            return found

        def measured(work: Callable[[], object], *more: Any) -> Any:
            repeats = more[0] if more and isinstance(more[0], int) else None
            if repeats is None:
                return one_turn(work, *more)
            return min((one_turn(work, 1) for _ in range(repeats)), key=lambda found: found[0])

        return measured


def main() -> None:
    checkout, name, read, write = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    sys.path[:1] = [str(checkout / "benchmarks"), str(checkout), str(Path(__file__).parent)]
    sys.argv = [f"{checkout}/benchmarks/{name}.py", *sys.argv[5:]]
    turns = Turns(read, write)
    turns.wait()
    machine: Any = importlib.import_module("machine")
    machine.seconds = turns.taking(machine.seconds)
    script: Any = importlib.import_module(name)
    if getattr(script.seconds if hasattr(script, "seconds") else machine.seconds, "__module__", "") == name:
        script.seconds = turns.taking(script.seconds)
    _, unknown = script.get_parser().parse_known_args()
    sys.argv = [word for word in sys.argv if word not in unknown]  # options of the other side alone
    try:
        script.main()
    finally:
        sys.stdout.flush()
        turns.hand_over(END)


if __name__ == "__main__":
    main()
