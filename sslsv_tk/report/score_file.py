"""Scores of a trial list as text, in the order of the list, one `enrol test score` per line (Kaldi)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.tables import Words

_BLOCK_LINES = 65536


def write_scores(path: str | Path, enrol: Words, test: Words, scores: NDArray[np.floating[Any]]) -> None:
    """Write keys (T,), keys (T,) and scores (T,) whole or not at all; nine digits keep every float32 apart."""
    with artifacts.replacing(path, "wb") as stream:
        for start in range(0, len(scores), _BLOCK_LINES):
            part = slice(start, start + _BLOCK_LINES)
            lines = zip(enrol[part].tolist(), test[part].tolist(), scores[part].tolist(), strict=True)
            stream.write(b"".join(b"%b %b %.9g\n" % line for line in lines))


def read_scores(path: str | Path) -> tuple[Words, Words, NDArray[np.float64]]:
    """Enrolment keys, test keys and scores, each (T,)."""
    enrol, test, scores = tables.read_columns(path, 3)
    return enrol, test, tables.numbers(scores, path)
