"""bin/plan for tests of run.sh: what it asks of the classes of methods and samplers is answered here, at once.

    plan_without_torch.py FOLDER WORD ...

FOLDER is the pretended environment. Its file `calls` gets a line for each question; where its file `failing` holds the
name of a question, the answer is an error.
"""

import logging
import sys
import types
from pathlib import Path

from sslsv_tk import logs
from sslsv_tk.bin import plan


def main() -> int:
    """Run the command with the answers in place of sslsv_tk.recipes.configured."""
    folder = Path(sys.argv[1])
    failing = folder / "failing"

    def asked(name: str, *words: object) -> None:
        with (folder / "calls").open("a") as stream:
            print("asked", name, *words, file=stream)
        if failing.is_file() and failing.read_text().strip() == name:
            raise ValueError(f"{name} failed")

    answers = types.ModuleType("sslsv_tk.recipes.configured")
    answers.check = lambda system, choices: asked("check", system.name, *(choice.name for choice in choices))
    answers.check_with = lambda training_set, system, choices: asked(
        "check_with", training_set, system.name, *(choice.name for choice in choices)
    )
    answers.check_initial_weights = lambda system, path: asked("check_initial_weights", system.name, path)
    answers.has_positives = lambda system: not system.name.startswith("supervised")
    answers.setting = lambda system, name: {"training.batch_size": 256, "frontend.bands": 40}[name]
    sys.modules[answers.__name__] = answers
    logging.basicConfig(level=logging.WARNING, format=logs.FORMAT, datefmt=logs.TIME_FORMAT)
    return logs.run_command(plan.main, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
