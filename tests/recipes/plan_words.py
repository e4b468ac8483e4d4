"""The options of run.sh as it hands them to bin/plan."""

import os
import re
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "voxceleb"


def words(**given: object) -> list[str]:
    """All options as run.sh hands them on: the defaults of its options block, and what is given here."""
    block = (RECIPE / "run.sh").read_text().partition("# Options\n")[2].partition("# End of options")[0]
    values = dict(re.findall(r"^([a-z_]+)=(\S*)", block, re.MULTILINE))
    found = {name: value for name, value in values.items() if value != "()"}
    found |= {"cores": "2", "cmd_backend": "local", "caller": os.getcwd(), "recipe": os.getcwd()}
    lists = {name: value for name, value in given.items() if isinstance(value, tuple)}
    found |= {name: str(value) for name, value in given.items() if name not in lists}
    return [f"{name}={value}" for name, value in found.items()] + [f"{n}={v}" for n, vs in lists.items() for v in vs]
