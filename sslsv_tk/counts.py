"""Counts that follow the training set: a whole number, or a share of its N utterances, as in N/6 or 0.98N."""

import math
import re

Count = int | float | str
"""How a configuration writes one: 240, N, N/6, 0.98N, or a share below 1 (0.02)."""

_SHARE = re.compile(r"(?:(\d+(?:\.\d+)?) ?\*? ?)?N(?:/(\d+(?:\.\d+)?))?")
_USUAL_MEMBERS = 6
"""Utterances of a cluster in the mean on small corpora: 240 clusters of 1,440 utterances of 60 speakers."""


def share_of(name: str, count: Count) -> float | None:
    """The share of the utterances that a count is; None where it is a number. ValueError where it is neither."""
    if isinstance(count, str):
        match = _SHARE.fullmatch(count.strip())
        share = float(match[1] or 1) / float(match[2] or 1) if match and float(match[2] or 1) else 0.0
        if 0 < share <= 1:
            return share
    elif 0 < count < 1:
        return float(count)
    elif count >= 1 and float(count).is_integer():
        return None
    raise ValueError(f"{name}: expected a whole number, or a share of the utterances: N, N/6, 0.02; found {count}.")


def count_of(name: str, count: Count, utterances: int) -> int:
    """The number that a count is in a training set of N utterances, at least 1."""
    share = share_of(name, count)
    return int(count) if share is None else max(1, round(share * utterances))


def fitting_clusters(utterances: int) -> int:
    """K that suits a small corpus of N utterances: a sixth of them, at least 2."""
    return max(2, round(utterances / _USUAL_MEMBERS))


def fitting_batch(utterances: int) -> int:
    """A batch that suits a small corpus of N utterances: a power of two with 16 steps an epoch or more, at least 2."""
    return max(2, 1 << int(math.log2(max(1, utterances / 16))))
