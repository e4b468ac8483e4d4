"""Utterance ids from paths, as corpora and as trial lists write them.

wav/id10270/x6uYqmx31kE/00001.wav     id10270-x6uYqmx31kE-00001     VoxCeleb, below whatever folders
anna/session1/take2.flac              anna-session1-take2           any other: all that stands below the folder
"""

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.tables import Words, text

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".aac")
_SLASH = ord("/")


def without_suffix(names: Words) -> Words:
    """Names without the suffix of an audio file, in whichever case; other names as they are."""
    lowered, lengths = np.char.lower(names), np.char.str_len(names)
    kept = lengths
    for suffix in AUDIO_SUFFIXES:
        kept = np.where(np.char.endswith(lowered, suffix.encode()), lengths - len(suffix), kept)
    return _cut(names, np.zeros(len(names), dtype=np.int64), kept)


def _cut(names: Words, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Words:
    """The bytes [start, end) of each name."""
    begins = np.arange(len(names), dtype=np.int64) * names.dtype.itemsize
    return tables.gather(tables.characters(names).reshape(-1), begins + starts, begins + ends)


def _start_of_last_parts(paths: Words, count: int) -> NDArray[np.int64]:
    """Where the last `count` parts of each path begin; -1 where it has fewer."""
    starts = np.zeros(len(paths), dtype=np.int64)
    for block in tables.blocks(len(paths)):
        slashes = tables.characters(paths[block]) == _SLASH
        from_right = slashes[:, ::-1].cumsum(axis=1, dtype=np.int16)[:, ::-1]
        before = slashes & (from_right == count)
        starts[block] = np.where(before.any(axis=1), before.argmax(axis=1) + 1, 0)
        starts[block][from_right[:, 0] < count - 1] = -1
    return starts


def split_voxceleb(paths: Words) -> tuple[NDArray[np.bool_], Words, Words]:
    """Which paths end as VoxCeleb's (id10270/<video>/<number>), what is above that, and what remains without it."""
    starts = _start_of_last_parts(paths, 3)
    named = np.maximum(starts, 0)
    speakers = np.char.partition(_cut(paths, named, np.char.str_len(paths)), b"/")[:, 0]
    numbers = _cut(speakers, np.full(len(paths), 2), np.char.str_len(speakers))
    is_voxceleb = (starts >= 0) & np.char.startswith(speakers, b"id") & np.char.isdigit(numbers)
    starts = np.where(is_voxceleb, named, 0)
    return is_voxceleb, _cut(paths, np.zeros_like(starts), starts), _cut(paths, starts, np.char.str_len(paths))


def utterance_ids(names: Words) -> Words:
    """Paths such as wav/id10270/x6uYqmx31kE/00001.wav as utterance ids; an id stays what it is."""
    if len(names) == 0:
        return names
    ids = split_voxceleb(without_suffix(names))[2].copy()
    characters = tables.characters(ids)
    characters[characters == _SLASH] = ord("-")
    return ids


def check(ids: Words, paths: Words) -> None:
    """ValueError names the first path that cannot give a key of a table."""
    for block in tables.blocks(len(ids)):
        written = tables.characters(ids[block])
        suspicious = (((written > 0) & (written <= 32)) | (written >= 127)).any(axis=1) | (written[:, 0] == 0)
        for row in np.flatnonzero(suspicious).tolist():
            if not _is_word(ids[block][row]):
                path = paths[block][row].decode("utf-8", errors="surrogateescape")
                raise ValueError(
                    f"{path!r}: white space, control characters or bytes that are not UTF-8 cannot be in an id."
                    " Rename it."
                )


def _is_word(key: bytes) -> bool:
    try:
        decoded = key.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return len(decoded.split()) == 1 and decoded.isprintable()


def sorted_once(ids: Words, paths: Words, prefer: tuple[str, ...] = ()) -> NDArray[np.int64]:
    """Rows in the order of their ids, each id once.

    Of several files with one id, that with the first suffix of `prefer` (such as .wav) is taken; ValueError names two
    files between which that does not decide.
    """
    ranks = np.full(len(ids), len(prefer))
    lowered = np.char.lower(paths) if prefer else paths
    for rank, suffix in reversed(list(enumerate(prefer))):
        ranks[np.char.endswith(lowered, suffix.encode())] = rank
    order = np.lexsort((ranks, ids)) if prefer else np.argsort(ids, kind="stable")
    ids, ranks = ids[order], ranks[order]
    again = np.concatenate([[False], ids[1:] == ids[:-1]])
    undecided = again & np.concatenate([[False], ranks[1:] == ranks[:-1]]) & ~np.concatenate([[False], again[:-1]])
    if undecided.any():
        place = int(undecided.argmax())
        first, second = sorted((paths[order[place - 1]], paths[order[place]]))
        raise ValueError(
            f"{text(first)} and {text(second)} both have the id {text(ids[place])} ({int(undecided.sum())} such ids)."
            " Remove or rename one of them, or say which kind to take, as in --prefer wav."
        )
    kept: NDArray[np.int64] = order[~again]
    return kept
