"""Which of the known names a mistyped word may have meant."""

import difflib
from collections.abc import Iterable

_MOST, _AS_GOOD = 3, 0.15
"""Names at most, and how much less alike than the best one each may be."""


def near_names(word: str, known: Iterable[str]) -> list[str]:
    """The nearest names, the nearest first; those that begin with the word where none is near; else nothing."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=_MOST)
    if not near:
        return [name for name in names if word and name.startswith(word)][:_MOST]
    alike = {name: difflib.SequenceMatcher(None, name, word).ratio() for name in near}
    return [name for name in near if alike[name] >= alike[near[0]] - _AS_GOOD]
