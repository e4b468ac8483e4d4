"""Calls of the package's commands by scripts that judge them from outside, and what they leave."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RIGHT = "right"
REFUSED = "refused, the cause named"
WRONG = "wrong without a word"


@dataclass(frozen=True)
class Said:
    """What one or several commands, one after the other until one fails, left."""

    status: int | None
    text: str

    def verdict_of_refusal(self, names: Sequence[str]) -> str:
        """Where the status is not 0."""
        if self.status is None:
            return "no end"
        if "Traceback (most recent call last)" in self.text:
            return "traceback"
        return REFUSED if any(name in self.text for name in names) else "not named"


def call(*commands: Sequence[str | Path], limit: float = 120.0, environment: dict[str, str] | None = None) -> Said:
    """Commands, one after the other until one fails."""
    text, status = "", 0
    for command in commands:
        try:
            done = subprocess.run(
                [str(word) for word in command],
                capture_output=True,
                timeout=limit,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return Said(None, text)
        text += (done.stdout + done.stderr).decode(errors="replace")
        status = done.returncode
        if status != 0:
            break
    return Said(status, text)


def package(name: str, *words: str | Path) -> list[str | Path]:
    """The words of one of the package's commands."""
    return ["python3", "-m", f"sslsv_tk.bin.{name}", *words]
