"""Which test sets there are, and which trial lists are about which: from --test-audio and --trials."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from sslsv_tk.recipes.names import WORD, Places, did_you_mean
from sslsv_tk.recipes.options import Mistake

_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.+)")
_OURS = re.compile(r"(train|voxceleb2_train|musan|rirs)(_.*)?")


@dataclass(frozen=True)
class ScoredSet:
    """A test set by its name in data/ and in the results, and the folder that it comes from."""

    name: str
    folder: str


@dataclass(frozen=True)
class TrialList:
    """A trial list, the test set that it is about, and its name in data/ and in the results."""

    path: str
    set: str
    name: str = ""
    word: str = field(default="", compare=False)
    """What the user typed; empty where nobody did."""


def split(places: Places, value: str) -> list[str]:
    """Words apart, but a path with spaces that is there stays whole, also behind SET=."""
    spans, found = [match.span() for match in re.finditer(r"\S+", value)], list[str]()
    while spans:
        longest = 1
        for count in range(2, len(spans) + 1):
            if _is_there(places, value[spans[0][0] : spans[count - 1][1]]):
                longest = count
        found.append(value[spans[0][0] : spans[longest - 1][1]])
        spans = spans[longest:]
    return found


def _is_there(places: Places, word: str) -> bool:
    match = _NAMED.fullmatch(word)
    return os.path.exists(places.of(word)) or (match is not None and os.path.exists(places.of(match[2])))


def find_sets(places: Places, test_audio: str, voxceleb1: str) -> list[ScoredSet]:
    """The sets of --test-audio, DIR or SET=DIR; without any, VoxCeleb1."""
    words = split(places, test_audio)
    if not words:
        return [ScoredSet("voxceleb1_test", voxceleb1)]
    sets: list[ScoredSet] = []
    for word in words:
        name, folder = _split_name(places, word)
        if not name:
            alone = "test" if len(words) == 1 else os.path.basename(folder)
            name = "voxceleb1_test" if folder == voxceleb1 else alone
        if not WORD.fullmatch(name) or _OURS.fullmatch(name):
            raise Mistake(
                f"--test-audio {word}: '{name}' cannot be the name of a test set. Give another: NAME={folder}"
            )
        for other in sets:
            if other.name == name:
                raise Mistake(
                    f"--test-audio: two test sets are called {name} ({other.folder} and {folder}). "
                    f"Name one: NAME={folder}"
                )
        sets.append(ScoredSet(name, folder))
    return sets


def find_lists(places: Places, trials: str, sets: list[ScoredSet], voxceleb1: str) -> list[TrialList]:
    """The lists of --trials, LIST or SET=LIST or folders of official lists, and those that lie in the sets' folders."""
    lists = [found for word in split(places, trials) for found in _of_word(places, word, sets)]
    for test_set in sets:
        if any(found.set == test_set.name for found in lists):
            continue
        inside = os.path.join(test_set.folder, "trials")
        if test_set.folder == voxceleb1:
            lists.append(TrialList(f"{voxceleb1}/veri_test2.txt", test_set.name))
        elif os.path.isfile(inside):
            lists.append(TrialList(inside, test_set.name))
    return _named(lists)


def without_list(sets: list[ScoredSet], lists: list[TrialList]) -> list[str]:
    """The names of the sets that no list is about."""
    return [test_set.name for test_set in sets if not any(found.set == test_set.name for found in lists)]


def check(sets: list[ScoredSet], lists: list[TrialList], scores: bool, about_to_read: bool) -> None:
    """Every set that is scored has a list, and every list that stage 1 reads is there."""
    for name in without_list(sets, lists) if scores else []:
        which = f"{name}=" if len(sets) > 1 else ""
        folder = next(test_set.folder for test_set in sets if test_set.name == name)
        raise Mistake(
            f"--test-audio needs --trials {which}FILE: lines `1|0 a b` with paths below {folder}, or "
            "`a b target|nontarget`. Embeddings alone: --stop-stage 6"
        )
    for found in lists if about_to_read else []:
        if not os.path.isfile(found.path):
            official = " ".join(_official())
            raise ValueError(
                f"there is no trial list {found.word or found.path}. Expected one of {official} (2: cleaned), or any "
                "list; --trials FILE names it."
            )


def of_validation(name: str, lists: list[TrialList]) -> TrialList | None:
    """The list that --validation names."""
    for found in lists:
        if found.name == name:
            return found
    if name:
        names = [found.name for found in lists]
        near = did_you_mean(name, names) if len(names) > 1 else ""
        raise Mistake(f"--validation {name}: there is no such list; there are: {' '.join(names)}.{near}")
    return None


def _official() -> list[str]:
    from sslsv_tk.kaldi.trials import OFFICIAL_LISTS  # with numpy, which a plan needs for nothing else

    return list(OFFICIAL_LISTS)


def _split_name(places: Places, word: str) -> tuple[str, str]:
    """SET and path of SET=PATH; the set is empty where there is only a path, or a path with an equals sign."""
    match = _NAMED.fullmatch(word)
    if match and not os.path.exists(places.of(word)):
        return match[1], places.of(_without_slash(match[2]))
    return "", places.of(_without_slash(word))


def _without_slash(path: str) -> str:
    return path.removesuffix("/") or path


def _of_word(places: Places, word: str, sets: list[ScoredSet]) -> list[TrialList]:
    name, path = _split_name(places, word)
    paths = [path]
    if os.path.isdir(path):
        official = _official()
        paths = [f"{path}/{file}" for file in official if os.path.isfile(f"{path}/{file}")]
        if not paths:
            raise ValueError(f"--trials: the folder {path} has none of the lists {' '.join(official)}. Give the file.")
    name = name or _set_of(path, sets)
    names = [test_set.name for test_set in sets]
    if name not in names:
        raise Mistake(f"--trials {word}: there is no test set {name}; there are: {' '.join(names)}")
    return [TrialList(path, name, word=word) for path in paths]


def _set_of(path: str, sets: list[ScoredSet]) -> str:
    """The one set, or the set in whose folder the list lies."""
    if len(sets) == 1:
        return sets[0].name
    inside = [test_set.name for test_set in sets if f"{path}/".startswith(f"{test_set.folder}/")]
    if not inside:
        names = " ".join(test_set.name for test_set in sets)
        raise Mistake(f"--trials {path}: which test set is it about? Write SET={path}; the sets are {names}")
    return inside[-1]


def _named(lists: list[TrialList]) -> list[TrialList]:
    """The name of the file without its ending; with the set before it where two sets have lists of one name."""
    stems = [Path(found.path).stem for found in lists]
    names = [found.set if stem == "trials" else stem for stem, found in zip(stems, lists, strict=True)]
    twice = {name for name, count in Counter(names).items() if count > 1}
    full = [f"{a.set}_{name}" if name in twice else name for name, a in zip(names, lists, strict=True)]
    for name, found in zip(full, lists, strict=True):
        if sum((other.path, other.set) == (found.path, found.set) for other in lists) > 1:
            raise Mistake(f"--trials: the list {found.path} of {found.set} is given twice")
        if full.count(name) > 1:
            raise Mistake(
                f"--trials: two lists of {found.set} are called {Path(found.path).stem}. Rename one of the files."
            )
    return [replace(found, name=name) for found, name in zip(lists, full, strict=True)]
