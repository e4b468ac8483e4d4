"""The site's options for Slurm, conf/slurm.conf, in the grammar of Kaldi; files of Kaldi and ESPnet are taken.

    command sbatch --export=ALL              the call, and what goes with each of its kind
    option mem=* --mem=$0                    words for an option of the launcher; $0 is its value
    option gpu=0                             a value of its own comes before *; no words: left out of the call
    default time=1:00:00                     the value of time or mem where the launcher was given none
    prologue module load cuda                a line for bash, on the node, before the task

No shell reads the other lines: words are split as a shell would split them, nothing in them is evaluated.
"""

import contextlib
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAMES = ("mem", "time", "num_threads", "gpu", "num_nodes", "tasks_per_node", "signal")
WITHOUT_VALUE = ("mem", "time")
"""What the launcher may have been given no value of; of the rest it always has one."""
NEUTRAL = {"num_threads": "1", "gpu": "0", "num_nodes": "1", "tasks_per_node": "1", "signal": "0"}
"""What every job has by itself: a file that does not describe such an option may be used with these values."""

BUILT_IN = {
    "num_nodes": ["--nodes=$0"],
    "tasks_per_node": ["--ntasks-per-node=$0"],
    "signal": ["--signal=B:USR1@$0"],
}
"""Words of what Kaldi has no options for, and a file need not describe: they are the same at every site."""
TAKEN_CARE_OF = ("name", "max_jobs_run")
"""Options of Kaldi that a file may describe, of which the launcher has words of its own: a name that is unique in the
cluster, by which jobs are found again, and the limit of an array."""


@dataclass
class Site:
    """What a file says."""

    path: str
    command: list[str] = field(default_factory=list)
    options: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Words by option and by value; the value * stands for all that have no words of their own."""
    defaults: dict[str, str] = field(default_factory=dict)
    prologue: list[str] = field(default_factory=list)
    """Lines for bash."""
    unknown: list[str] = field(default_factory=list)
    """Names of options that the launcher does not have, each once."""

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """The words for all options that have a value, here or among the defaults.

        ValueError, naming the file, for an option or a value that it does not describe.
        """
        asked = {**self.defaults, **values}
        return [word for name in NAMES if name in asked for word in self._words(name, asked[name])]

    def _words(self, name: str, value: str) -> list[str]:
        described = self.options.get(name, {})
        if not described and NEUTRAL.get(name) == value:
            return []
        if not described and name in BUILT_IN:
            described = {"*": BUILT_IN[name]}
        words = described.get(value, described.get("*"))
        if words is None:
            line = f"a line `option {name}=* ...`"
            raise ValueError(
                f"{self.path}: {name}={value} was asked for, but the file does not describe it. Add {line}."
            )
        return [word.replace("$0", value) for word in words]


def read(path: str) -> Site:
    """Read a file; ValueError with file and line for what is not of the grammar."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        advice = "Name the site's file in --conf or SSLSV_SLURM_CONF (egs/voxceleb/conf/slurm.conf is an example)."
        raise ValueError(f"{path}: no such file of Slurm options. {advice}") from None
    site = Site(path)
    for number, line in enumerate(lines, 1):
        try:
            _read_line(site, line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    if not site.command:
        raise ValueError(f"{path}: expected a line `command sbatch ...`, found none.")
    return site


def _read_line(site: Site, line: str) -> None:
    prologue = re.match(r"\s*prologue\s+(.*\S)", line)
    if prologue:
        _check_shell(prologue[1])
        site.prologue.append(prologue[1])
        return
    words = shlex.split(re.sub(r"(^|\s)#.*", "", line))  # a # within a word is part of it
    if not words:
        return
    kind, rest = words[0], words[1:]
    if kind == "command" and rest and not site.command:
        _refuse_clusters(rest)
        site.command = rest
    elif kind == "option" and rest:
        _read_option(site, rest)
    elif kind == "default" and len(rest) == 1:
        _read_default(site, rest[0])
    else:
        raise ValueError(
            "expected `command ...` (once), `option NAME=VALUE ...`, `default NAME=VALUE` or `prologue LINE`, found "
            f"{line!r}."
        )


def _read_option(site: Site, words: list[str]) -> None:
    name, value = _name_and_value(words[0])
    if _is_used(site, name):
        if value in site.options.setdefault(name, {}):
            raise ValueError(f"option {words[0]} is there twice. Leave one of them.")
        site.options[name][value] = words[1:]


def _read_default(site: Site, word: str) -> None:
    name, value = _name_and_value(word)
    if not _is_used(site, name):
        return
    if name not in WITHOUT_VALUE and NEUTRAL[name] != value:
        raise ValueError(
            f"default {word}: the launcher always gives {name}, {NEUTRAL[name]} where nothing is asked for. Leave the "
            f"line out, or say so with the option of the launcher in cmd.sh."
        )
    site.defaults[name] = value


def _is_used(site: Site, name: str) -> bool:
    """Does the launcher ask for such an option? Others are noted."""
    if name not in (*NAMES, *TAKEN_CARE_OF, *site.unknown):
        site.unknown.append(name)
    return name in NAMES


def _check_shell(line: str) -> None:
    """ValueError for what is no whole command of bash, since it would break the script around it."""
    with contextlib.suppress(FileNotFoundError):  # no bash here: there will be one on the nodes
        checked = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True, check=False)
        if checked.returncode:
            complaint = checked.stderr.strip().splitlines()[0].partition(": line ")[2] or checked.stderr.strip()
            raise ValueError(f"prologue {line}: not a whole command of bash ({complaint}).")


def _refuse_clusters(words: list[str]) -> None:
    """sbatch alone would then know where the jobs are."""
    if any(re.match(r"--clusters\b|-M", word) for word in words):
        advice = "Say `export SLURM_CLUSTERS=NAME` in cmd.sh, since squeue, scontrol and scancel must ask it, too."
        raise ValueError(f"the cluster cannot be named here. {advice}")


def _name_and_value(word: str) -> tuple[str, str]:
    match = re.fullmatch(r"([A-Za-z]\w*)=(.+)", word)
    if not match:
        raise ValueError(f"expected NAME=VALUE with a name of {', '.join(NAMES)}, found {word!r}.")
    return match[1], match[2]
