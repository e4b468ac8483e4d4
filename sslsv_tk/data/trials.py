"""Trial lists: which pairs of utterances a system is asked about.

Two text forms are read: `1|0 enrol test` (VoxCeleb, with paths such as id10270/x6uYqmx31kE/00001.wav) and
`enrol test target|nontarget` (Kaldi), which is also what is written.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.data import tables
from sslsv_tk.data.directories import find_rows
from sslsv_tk.data.tables import Words, text

log = logs.logger("trials")
_SUFFIXES = (b".wav", b".flac", b".m4a")


@dataclass(frozen=True)
class Trials:
    """Pairs of utterances as row numbers (T,) int32 into the sorted keys, and whether the speaker is the same (T,)."""

    enrol: NDArray[np.int32]
    test: NDArray[np.int32]
    target: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.target)

    def require_both_kinds(self, name: str | Path) -> None:
        """ValueError unless there are target and nontarget trials, without which no error rate is defined."""
        targets = int(self.target.sum())
        if targets in (0, len(self)):
            kind, other = ("nontarget", "target") if targets == 0 else ("target", "nontarget")
            raise ValueError(f"{name}: all {len(self)} trials are {kind} ones; the EER needs {other} trials as well.")


def utterance_ids(names: Words) -> Words:
    """Paths such as id10270/x6uYqmx31kE/00001.wav as utterance ids, id10270-x6uYqmx31kE-00001."""
    names = names.copy()
    characters = tables.characters(names)
    characters[characters == ord("/")] = ord("-")
    kept = lengths = np.char.str_len(names)
    for suffix in _SUFFIXES:
        kept = np.where(np.char.endswith(names, suffix), lengths - len(suffix), kept)
    characters[np.arange(characters.shape[1]) >= kept[:, None]] = 0
    return names


def read_columns(path: str | Path) -> tuple[Words, Words, NDArray[np.bool_]]:
    """Enrolment and test names as written in a trial list of either form, and which trials are target ones."""
    first, second, third = tables.read_columns(path, 3, may_lack_newline=True)
    if third[0] in (b"target", b"nontarget"):
        enrol, test, labels, yes, no = first, second, third, b"target", b"nontarget"
    elif first[0] in (b"0", b"1"):
        enrol, test, labels, yes, no = second, third, first, b"1", b"0"
    else:
        line = " ".join(text(word) for word in (first[0], second[0], third[0]))
        raise ValueError(f"{path}:1: expected `1|0 enrol test` or `enrol test target|nontarget`, found {line!r}.")
    target = labels == yes
    wrong = ~target & (labels != no)
    if wrong.any():
        line_number = int(wrong.argmax()) + 1
        raise ValueError(
            f"{path}:{line_number}: expected {text(yes)} or {text(no)} as on the first line,"
            f" found {text(labels[line_number - 1])!r}."
        )
    return enrol, test, target


def named_utterances(path: str | Path) -> Words:
    """The ids of all utterances that a trial list names, sorted."""
    enrol, test, _ = read_columns(path)
    return np.unique(np.concatenate([utterance_ids(enrol), utterance_ids(test)]))


def read_trials(path: str | Path, keys: Words) -> Trials:
    """Read a list of either form; `keys` are the sorted utterances of the data directory that it is about.

    An utterance that is not there, or a pair that is called target and nontarget, raises a ValueError; pairs that
    stand twice are counted twice, as the list says, and a warning names them.
    """
    enrol_names, test_names, target = read_columns(path)
    enrol, test = _rows(keys, enrol_names), _rows(keys, test_names)
    unknown = (enrol < 0) | (test < 0)
    if unknown.any():
        names = np.unique(np.concatenate([enrol_names[enrol < 0], test_names[test < 0]]))
        raise ValueError(
            f"{path}:{int(unknown.argmax()) + 1}: {len(names)} utterance(s) of {int(unknown.sum())} trial(s) are not"
            f" among the {len(keys)} of the data directory: {tables.first_words(names)}."
            " Is it the list of this test set?"
        )
    _check_repeats(path, enrol * len(keys) + test, target, enrol_names, test_names)
    return Trials(enrol.astype(np.int32), test.astype(np.int32), target)


def _rows(keys: Words, names: Words) -> NDArray[np.int64]:
    """Rows by the name as it stands, else by the id that a path means; -1 where neither is known."""
    rows = find_rows(keys, names)
    unknown = np.flatnonzero(rows < 0)
    rows[unknown] = find_rows(keys, utterance_ids(names[unknown]))
    return rows


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
        for begin in range(0, len(trials), 65536):
            block = slice(begin, begin + 65536)
            columns = (keys[trials.enrol[block]].tolist(), keys[trials.test[block]].tolist(), labels[block].tolist())
            stream.write(b"".join(b"%b %b %b\n" % row for row in zip(*columns, strict=True)))
