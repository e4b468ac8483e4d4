"""Hostile values of every option of run.sh, tried with --dry-run, which must change nothing."""

import random
import re
import shutil
from pathlib import Path

from commands import REPOSITORY, RIGHT, WRONG, call

RUN = REPOSITORY / "egs/voxceleb/run.sh"
VALUES = (
    "", " ", "-1", "0", "1e9", "99999999999999999999", "nan", "inf", "0.5", "true false", "yes", "..", "../../..",
    "/", "/dev/null", "/etc/passwd", "a b", "a=b", "=", "*", "?", "[x", "{a,b}", "~", "$HOME", "$(touch MARK)",
    "`touch MARK`", "; touch MARK", "x' ; touch MARK ; '", '"', "\\", "a\nb", "stage=3\nnj=7", "JOB", "\u00e9\u4e2d",
    "x" * 5000, "--force", "-", "conf", "none", "NONE", "null", "[]", "{}", "010", "1:30", "1_0", "+", "a:b=c", ":",
    "simclr_fast_resnet34+", ",", "\t",
)  # fmt: skip


def options_of_run_sh() -> list[str]:
    """Their names, as the block of options has them."""
    block = RUN.read_text().partition("# Options\n")[2].partition("# End of options")[0]
    return [name.replace("_", "-") for name in re.findall(r"^([a-z_]+)=", block, re.MULTILINE)]


def case(folder: Path, chance: random.Random) -> tuple[str, str, str]:
    """One option with one hostile value."""
    option = chance.choice([name for name in options_of_run_sh() if name not in ("dry-run", "tiny", "mini", "python")])
    mark = folder / "mark"
    value = chance.choice(VALUES).replace("MARK", str(mark))
    words = [str(RUN), "--tiny", "true", "--dry-run", "true"]
    folders = {"datadir": "data", "dumpdir": "dump", "expdir": "exp"}
    for name, place in folders.items():
        words += [f"--{name}", str(folder / place)] if name != option else []
    before = listing(folder)
    said = call([*words, f"--{option}", value], limit=60)
    what, last = f"--{option} {value[:60]!r}", " / ".join(said.text.strip().splitlines()[-2:])[-300:]
    if listing(folder) != before or mark.exists():
        return what, "changed something", last
    if said.status == 0:
        return what, RIGHT if "stages=" in said.text else WRONG, last
    names = [option, option.replace("-", "_"), *([value] if value.strip() else [])]
    verdict = said.verdict_of_refusal(names)
    if verdict.startswith("refused") and said.status not in (1, 2):
        verdict = f"exit status {said.status}"
    if verdict.startswith("refused") and len(said.text.strip().splitlines()) > 3:
        verdict = "more than a line"
    return what, verdict, last


def listing(folder: Path) -> list[str]:
    """Everything below a folder, and beside the recipe."""
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return sorted(map(str, folder.rglob("*"))) + sorted(path.name for path in RUN.parent.iterdir())
