"""Kills the recipe at random, again and again, and compares what comes out with a run that nobody disturbed.

    python3 tests/soak/soak.py --folder /tmp/soak --kills 20 --minutes 40

    sudo tools/start_test_slurm.sh start; export SLURM_CONF=...     # or on two nodes, training on both
    python3 tests/soak/soak.py --folder /tmp/soak --backend slurm --num-nodes 2

The recipe is the small one of judge.py. A kill comes at a random moment after the beginning of a random stage; then the
recipe is let go on, or is started again where it stopped. When it is complete its embeddings and scores must have the
same bytes as those of the undisturbed run, and it begins anew while kills are left. Prints a table of what was killed,
when, and what came of it, and writes it to FOLDER/cases.jsonl; exit status 1 where anything differs, or where the
recipe fails without having been disturbed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from judge import EQUAL, REPOSITORY, SILENT, make_corpus, results_of, small_recipe

NODES = ("n1", "n2")
PAUSE = 0.2
LONGEST_RUN = 1800.0
"""Seconds that one start of the recipe may take."""


@dataclass
class Soak:
    """The options, and what happened so far."""

    backend: str
    num_nodes: int
    folder: Path
    slurm_folder: Path
    chance: random.Random
    options: Sequence[str] = ()
    stages: Sequence[int] = tuple(range(1, 8))
    delay: float = 3.0
    rows: list[tuple[str, ...]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def start(self, name: str) -> "Recipe":
        """The recipe into the folder `name`, whatever is there already."""
        return Recipe(self, self.folder / name)


class Recipe:
    """One start of run.sh."""

    def __init__(self, soak: Soak, folder: Path) -> None:
        self.soak, self.folder = soak, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "run.log"
        self.begins_at = self.log.stat().st_size if self.log.exists() else 0
        words = small_recipe(soak.folder / "corpus", *(folder / name for name in ("data", "dump", "exp")))
        words += ["--num-nodes", str(soak.num_nodes), *soak.options]
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                words,
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "cmd_backend": soak.backend},
                start_new_session=True,
            )

    def said(self) -> str:
        """What this start has said so far."""
        with self.log.open("rb") as stream:
            stream.seek(self.begins_at)
            return stream.read().decode(errors="replace")

    def stage(self) -> str:
        """The stage that it said last."""
        stages = [line.split("Stage ")[1][0] for line in self.said().splitlines() if ") Stage " in line]
        return stages[-1] if stages else "0"

    def wait(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Until it ends, or something else is so; did it end?"""
        give_up = time.monotonic() + LONGEST_RUN
        while self.process.poll() is None and not until():
            if time.monotonic() > give_up:
                raise SystemExit(f"{self.log}: no end after {LONGEST_RUN:.0f} s")
            time.sleep(PAUSE)
        return self.process.poll() is not None


def processes_of(folder: Path, word: str) -> Iterator[int]:
    """The processes whose command names the folder and the word."""
    for entry in Path("/proc").iterdir():
        try:
            command = (
                (entry / "cmdline").read_bytes().decode(errors="replace").split("\0") if entry.name.isdigit() else []
            )
        except OSError:
            continue
        if any(str(folder) in part for part in command) and any(word in part for part in command[:4]):
            yield int(entry.name)


# -- what can go wrong -------------------------------------------------------------------------------------------------


def one_of(recipe: Recipe, word: str, number: signal.Signals) -> bool:
    """A signal to one of the processes of a command; False where there is none now."""
    found = list(processes_of(recipe.folder, word))
    if not found:
        return False
    try:
        os.kill(recipe.soak.chance.choice(found), number)
    except ProcessLookupError:
        return False
    return True


def end_run_sh(recipe: Recipe, number: signal.Signals) -> bool:
    """A signal to run.sh itself."""
    recipe.process.send_signal(number)
    return True


def cancel(recipe: Recipe) -> bool:
    """scancel of a job of this recipe."""
    listed = subprocess.run(["squeue", "--noheader", "--format=%A"], capture_output=True, text=True).stdout.split()
    if not listed:
        return False
    subprocess.run(["scancel", recipe.soak.chance.choice(sorted(set(listed)))], check=True)
    return True


def lose_a_node(recipe: Recipe) -> bool:
    """A machine dies with all that runs on it, and comes back after a while."""
    node, script = recipe.soak.chance.choice(NODES), str(REPOSITORY / "tools/start_test_slurm.sh")
    options = ["--folder", str(recipe.soak.slurm_folder), "--node", node]
    subprocess.run([script, "kill-node", *options], check=True, stdout=subprocess.DEVNULL)
    time.sleep(recipe.soak.chance.uniform(5, 20))
    subprocess.run([script, "start-node", *options], check=True, stdout=subprocess.DEVNULL)
    return True


KILLS: dict[str, Callable[[Recipe], bool]] = {
    "run.sh, SIGKILL": lambda recipe: end_run_sh(recipe, signal.SIGKILL),
    "run.sh, SIGTERM": lambda recipe: end_run_sh(recipe, signal.SIGTERM),
    "launcher, SIGKILL": lambda recipe: one_of(recipe, "sslsv_tk.launch", signal.SIGKILL),
    "training, SIGKILL": lambda recipe: one_of(recipe, "sslsv_tk.bin.train", signal.SIGKILL),
    "training, SIGUSR1": lambda recipe: one_of(recipe, "sslsv_tk.bin.train", signal.SIGUSR1),
    "any command, SIGKILL": lambda recipe: one_of(recipe, "sslsv_tk.bin.", signal.SIGKILL),
}
SLURM_KILLS: dict[str, Callable[[Recipe], bool]] = {"job, scancel": cancel, "node, lost": lose_a_node}


# -- the soak ----------------------------------------------------------------------------------------------------------


def undisturbed(soak: Soak) -> dict[str, str]:
    """Results of a run that nobody disturbs."""
    recipe = soak.start("undisturbed")
    recipe.wait()
    if recipe.process.returncode != 0:
        raise SystemExit(f"{recipe.log}: the undisturbed run failed")
    found = results_of(recipe.folder)
    if not found:
        raise SystemExit(f"{recipe.folder}: no embeddings and scores to compare with")
    return found


def disturb(soak: Soak, recipe: Recipe) -> None:
    """One kill at a random moment, if the recipe lives so long, and what comes of it."""
    stage, extra = soak.chance.choice(soak.stages), soak.chance.uniform(0.0, soak.delay)
    if recipe.wait(lambda: recipe.stage() >= str(stage)):
        return
    moment = time.monotonic() + extra
    if recipe.wait(lambda: time.monotonic() >= moment):
        return
    reached, began = recipe.stage(), time.monotonic()
    kills = {**KILLS, **(SLURM_KILLS if soak.backend == "slurm" else {})}
    order = soak.chance.sample(sorted(kills), len(kills))
    what = next(name for name in order if kills[name](recipe))  # some have nothing to kill just now
    recipe.wait()
    soak.rows.append((str(len(soak.rows) + 1), what, reached, outcome(recipe), f"{time.monotonic() - began:.0f}"))
    print("| " + " | ".join(soak.rows[-1]) + " |", flush=True)


def outcome(recipe: Recipe) -> str:
    """What run.sh did after the kill."""
    code = recipe.process.returncode
    if code == 0:
        return "went on by itself to the end"
    said = [line for line in recipe.said().splitlines() if "error" in line or "failed" in line or "stopped" in line]
    return f"ended ({code}): {said[0].replace(str(recipe.folder), '')[:110] if said else 'nothing said'}"


def soak_until(soak: Soak, kills: int, until: float) -> None:
    """Cycles of the recipe, each disturbed until it is complete."""
    make_corpus(soak.folder / "corpus")
    expected, cycle = undisturbed(soak), 0
    while len(soak.rows) < kills and time.monotonic() < until:
        cycle += 1
        name, before = f"cycle{cycle}", len(soak.rows)
        verdict = one_cycle(soak, name, kills, until, expected)
        write_down(soak, name, soak.rows[before:], verdict)
        print(f"{name} complete after {len(soak.rows)} kills: {verdict}", flush=True)
        if verdict == "dead end":
            return
        if verdict == EQUAL:
            shutil.rmtree(soak.folder / name)


def one_cycle(soak: Soak, name: str, kills: int, until: float, expected: dict[str, str]) -> str:
    """The recipe into a new folder, disturbed until it is complete; the verdict."""
    while True:
        recipe, before = soak.start(name), len(soak.rows)
        if before < kills and time.monotonic() < until:
            disturb(soak, recipe)
        recipe.wait()
        if recipe.process.returncode == 0:
            break
        if len(soak.rows) == before:
            soak.faults.append(f"{name}: a start that nobody disturbed failed, see {recipe.log}")
            return "dead end"
    if "Traceback (most recent call last)" in recipe.log.read_text(errors="replace"):
        soak.faults.append(f"{name}: a traceback, see {recipe.log}")
        return "traceback"
    if results_of(soak.folder / name) != expected:
        soak.faults.append(f"{name}: other results than those of the undisturbed run")
        return SILENT
    return EQUAL


def write_down(soak: Soak, name: str, rows: Sequence[tuple[str, ...]], verdict: str) -> None:
    """The kills of a cycle into FOLDER/cases.jsonl."""
    where = soak.backend + (", fbank" if "fbank" in soak.options else "")
    with (soak.folder / "cases.jsonl").open("a") as stream:
        for row in rows:
            signal_name = "kill -9" if "SIGKILL" in row[1] or "lost" in row[1] else "other signals"
            about = {"kind": f"{signal_name}, {where}", "damage": row[1], "after": row[2], "said": row[3]}
            stream.write(json.dumps({"case": f"{name}/{row[0]}", "verdict": verdict, **about}) + "\n")


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--backend", choices=["local", "slurm"], default="local", help="as cmd_backend")
    option("--num-nodes", type=int, default=1, help="machines that train together")
    option("--kills", type=int, default=20, help="how many")
    option("--minutes", type=float, default=60.0, help="no new kill after so long")
    option("--stages", type=int, nargs="+", default=list(range(1, 8)), help="after whose beginning a kill comes")
    option("--delay", type=float, default=3.0, help="seconds between the beginning of a stage and a kill, at most")
    option("--seed", type=int, default=0, help="of what is killed and when")
    option("--folder", type=Path, required=True, help="an empty folder; it must lie on a disk that all nodes share")
    option("--options", nargs=argparse.REMAINDER, default=[], help="words for run.sh, such as --feats-type fbank; last")
    option("--slurm-folder", type=Path, default=Path("/tmp/sslsv_test_slurm"), help="of tools/start_test_slurm.sh")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and say what happened."""
    options = get_parser().parse_args(arguments)
    chance = random.Random(options.seed)
    folders = (options.folder.resolve(), options.slurm_folder)
    kinds = (options.options, options.stages, options.delay)
    soak = Soak(options.backend, options.num_nodes, *folders, chance, *kinds)
    print(
        "| kill | what | stage | what happened | seconds until the end of run.sh |\n| --- | --- | --- | --- | --- |",
        flush=True,
    )
    soak_until(soak, options.kills, time.monotonic() + 60 * options.minutes)
    print(f"{len(soak.rows)} kills; " + ("; ".join(soak.faults) or "all results are the same"))
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())
