"""Trial lists: which pairs of utterances a system is asked about.

Three text forms are read: `1|0 enrol test` (VoxCeleb, with paths such as id10270/x6uYqmx31kE/00001.wav),
`enrol test 1|0` (CN-Celeb) and `enrol test target|nontarget` (Kaldi), which is also what is written.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.kaldi import list_names, tables
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.kaldi.utterance_ids import utterance_ids

log = logs.logger("trials")
OFFICIAL_LISTS = {
    "veri_test.txt": "VoxCeleb1-O, original",
    "veri_test2.txt": "VoxCeleb1-O, cleaned",
    "list_test_all.txt": "VoxCeleb1-E, original",
    "list_test_all2.txt": "VoxCeleb1-E, cleaned",
    "list_test_hard.txt": "VoxCeleb1-H, original",
    "list_test_hard2.txt": "VoxCeleb1-H, cleaned",
    "voxsrc2020_val.txt": "VoxSRC-20, validation",
    "voxsrc2021_val.txt": "VoxSRC-21, validation",
    "voxsrc2022_dev.txt": "VoxSRC-22, validation",
    "voxsrc2022_dev_fixed.txt": "VoxSRC-22, validation, corrected",
    "VoxSRC2023_Track12_val.txt": "VoxSRC-23, validation",
}
_OFFICIAL_TRIALS = {
    "veri_test": 37_720,
    "veri_test2": 37_611,
    "list_test_all": 581_480,
    "list_test_all2": 579_818,
    "list_test_hard": 552_536,
    "list_test_hard2": 550_894,
}


@dataclass(frozen=True)
class Trials:
    """Pairs of utterances as row numbers (T,) int32 into the sorted keys, and whether the speaker is the same (T,).

    `left_out` counts trials of the list of which an utterance was left out as unreadable, within the tolerance.
    """

    enrol: NDArray[np.int32]
    test: NDArray[np.int32]
    target: NDArray[np.bool_]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.target)

    def require_both_kinds(self, name: str | Path) -> None:
        """ValueError unless there are target and nontarget trials, without which no error rate is defined."""
        targets = int(self.target.sum())
        if targets in (0, len(self)):
            kind, other = ("nontarget", "target") if targets == 0 else ("target", "nontarget")
            without = f" ({self.left_out} others name utterances that were left out)" if self.left_out else ""
            raise ValueError(
                f"{name}: all {len(self)} trials are {kind} ones{without}; the EER needs {other} trials as well."
            )


def described(path: str | Path) -> str:
    """The name of a list and, of an official one, which it is: veri_test2.txt (VoxCeleb1-O, cleaned)."""
    name = Path(path).name
    return f"{name} ({OFFICIAL_LISTS[name]})" if name in OFFICIAL_LISTS else name


def official_name(stem: str, number_of_trials: int) -> str | None:
    """Which official VoxCeleb1 list has this name (without .txt) and as many trials; None for any other list.

    A generated corpus uses the names too, so the name alone says nothing.
    """
    return OFFICIAL_LISTS[f"{stem}.txt"] if _OFFICIAL_TRIALS.get(stem) == number_of_trials else None


def read_columns(path: str | Path) -> tuple[Words, Words, NDArray[np.bool_]]:
    """Enrolment and test names as written in a trial list of any form, and which trials are target ones."""
    if not Path(path).is_file():
        official = ", ".join(f"{name} ({what})" for name, what in OFFICIAL_LISTS.items())
        raise ValueError(f"there is no trial list {path}. The official ones are {official}; any other name will do.")
    first, second, third = tables.read_columns(path, 3, may_lack_newline=True)
    if third[0] in (b"target", b"nontarget"):
        enrol, test, labels, yes, no = first, second, third, b"target", b"nontarget"
    elif first[0] in (b"0", b"1"):
        enrol, test, labels, yes, no = second, third, first, b"1", b"0"
    elif third[0] in (b"0", b"1"):
        enrol, test, labels, yes, no = first, second, third, b"1", b"0"
    else:
        line = " ".join(text(word) for word in (first[0], second[0], third[0]))
        raise ValueError(f"{path}:1: expected `1|0 a b`, `a b 1|0` or `a b target|nontarget`, found {line!r}.")
    target = labels == yes
    wrong = ~target & (labels != no)
    if wrong.any():
        line_number = int(wrong.argmax()) + 1
        raise ValueError(
            f"{path}:{line_number}: expected {text(yes)} or {text(no)} as on the first line,"
            f" found {text(labels[line_number - 1])!r}."
        )
    return enrol, test, target


def _example(keys: Words) -> str:
    """What a list could name, for comparison with what it does."""
    return f"There are {len(keys)}, such as {text(keys[0])}" if len(keys) else "There is none"


def left_out(folder: str | Path) -> Words:
    """The sorted utterances that the tolerance left out of a data directory: the keys of its table `rejected`."""
    path = Path(folder) / "rejected"
    return np.sort(tables.read_rows(path)[0]) if path.is_file() else np.zeros(0, dtype="S1")


def named_rows(path: str | Path, keys: Words, files: Words | None = None) -> NDArray[np.bool_]:
    """Which of the sorted keys (N,), whose audio are `files`, a trial list names; ValueError where it names others."""
    enrol, test, _ = read_columns(path)
    names = np.unique(np.concatenate([enrol, test]))
    rows = list_names.rows_of(keys, names, files)
    if (rows < 0).any():
        missing = names[rows < 0]
        raise ValueError(
            f"{path}: {len(missing)} of {len(names)} utterances are not in the corpus:"
            f" {tables.first_words(utterance_ids(missing))}. {_example(keys)}."
            f"{list_names.hint(keys, missing) or ' Is it the list of this corpus?'}"
        )
    named = np.zeros(len(keys), dtype=np.bool_)
    named[rows] = True
    return named


def read_trials(path: str | Path, keys: Words, without: Words | None = None, files: Words | None = None) -> Trials:
    """Read a list of any form; `keys` are the sorted utterances of the data directory that it is about.

    Trials of the sorted utterances `without`, which the tolerance left out, are left out and counted. `files` are the
    audio of the keys, if names may be their paths. An utterance that is not there, or a pair that is called target and
    nontarget, raises a ValueError; pairs that stand twice are counted twice, as in the list, and a warning names them.
    """
    enrol_names, test_names, target = read_columns(path)
    enrol, test = (list_names.rows_of(keys, names, files) for names in (enrol_names, test_names))
    known, dropped = [enrol >= 0, test >= 0], (enrol < 0) | (test < 0)
    if without is not None and dropped.any():
        known = [
            there | (list_names.rows_of(without, names) >= 0)
            for there, names in zip(known, (enrol_names, test_names), strict=True)
        ]
    if not (known[0] & known[1]).all():
        _refuse_unknown(path, keys, (~known[0], ~known[1]), (enrol_names, test_names))
    kept = ~dropped
    enrol, test, target = enrol[kept], test[kept], target[kept]
    _check_repeats(path, enrol * len(keys) + test, target, enrol_names[kept], test_names[kept])
    return Trials(enrol.astype(np.int32), test.astype(np.int32), target, int(dropped.sum()))


def _refuse_unknown(
    path: str | Path, keys: Words, unknown: tuple[NDArray[np.bool_], NDArray[np.bool_]], names: tuple[Words, Words]
) -> None:
    """ValueError names utterances of the list that are not there."""
    either = unknown[0] | unknown[1]
    missing = np.unique(np.concatenate([words[mask] for words, mask in zip(names, unknown, strict=True)]))
    raise ValueError(
        f"{path}:{int(either.argmax()) + 1}: {len(missing)} utterance(s) of {int(either.sum())} trial(s) are not"
        f" among the {len(keys)} of the data directory: {tables.first_words(missing)}; its first is {text(keys[0])}."
        f"{list_names.hint(keys, missing) or ' Is it the list of this test set?'}"
    )


def _check_repeats(
    path: str | Path, pair: NDArray[np.int64], target: NDArray[np.bool_], enrol: Words, test: Words
) -> None:
    order = np.argsort(pair, kind="stable")
    again = np.flatnonzero(pair[order][1:] == pair[order][:-1])
    if len(again) == 0:
        return
    first, second = order[again], order[again + 1]
    contradicted = np.flatnonzero(target[first] != target[second])
    place = int(contradicted[0]) if len(contradicted) else 0
    where = (
        f"{path}:{second[place] + 1}: the pair {text(enrol[second[place]])} {text(test[second[place]])}"
        f" stands on line {first[place] + 1} already"
    )
    if len(contradicted):
        raise ValueError(f"{where} and is called target on one of them, nontarget on the other. Remove the wrong line.")
    log.warning(
        "%s; %d of %d trials are repeats, and count as often as the list has them", where, len(again), len(pair)
    )


def write_trials(path: str | Path, trials: Trials, keys: Words) -> None:
    """Write `enrol test target|nontarget` lines, whole or not at all."""
    labels = np.where(trials.target, b"target", b"nontarget")
    with artifacts.replacing(path, "wb") as stream:
        for block in tables.blocks(len(trials)):
            columns = (keys[trials.enrol[block]].tolist(), keys[trials.test[block]].tolist(), labels[block].tolist())
            stream.write(b"".join(b"%b %b %b\n" % row for row in zip(*columns, strict=True)))
