"""Names of utterances in lists, as people write them: ids, paths below the corpus, whole paths of its files."""

import posixpath
import unicodedata
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.kaldi.directories import find_rows
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.kaldi.utterance_ids import utterance_ids

_FORMS: dict[Literal["NFC", "NFD"], str] = {"NFC": "composed", "NFD": "decomposed"}


def rows_of(keys: Words, names: Words, files: Words | None = None) -> NDArray[np.int64]:
    """The row of each name among sorted keys, -1 where it is none of them.

    A name is a key as it stands, else the id that a path means, whatever ./ and // are in it, else the whole path of
    one of `files`, which are those of the keys.
    """
    distinct, place = np.unique(names, return_inverse=True)
    rows = find_rows(keys, distinct)
    unknown = np.flatnonzero(rows < 0)
    rows[unknown] = find_rows(keys, utterance_ids(distinct[unknown]))
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        plain = np.array([posixpath.normpath(name) for name in distinct[unknown].tolist()], dtype=np.bytes_)
        rows[unknown] = find_rows(keys, utterance_ids(plain))
        if files is not None:
            still = rows[unknown] < 0
            rows[unknown[still]] = _rows_of_files(files, plain[still])
    found: NDArray[np.int64] = rows[place]
    return found


def _rows_of_files(files: Words, names: Words) -> NDArray[np.int64]:
    order = np.argsort(files, kind="stable")
    places = find_rows(files[order], names)
    return np.where(places < 0, -1, order[places])


def hint(keys: Words, unknown: Words) -> str:
    """What may be behind names that are not there, in a sentence: accents that are written otherwise; else ""."""
    for form, word in _FORMS.items():
        written = np.array([unicodedata.normalize(form, text(name)).encode() for name in unknown.tolist()])
        if len(written) and (rows_of(keys, written) >= 0).any():
            other = next(words for name, words in _FORMS.items() if name != form)
            return (
                f" The corpus writes accents {word} ({form}), the list {other}: the same letters in other bytes."
                f" Write the list as the corpus does (uconv -x any-{form.lower()})."
            )
    return ""
