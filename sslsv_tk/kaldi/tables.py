"""Text tables of two columns: a key, white space, and the rest of the line as its value.

Tables have millions of lines, so they live as numpy arrays of fixed-width bytes (UTF-8), never as Python
strings: reading and checking takes about a second per million lines.
"""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts

Words = NDArray[np.bytes_]
Column = Words | Sequence[str] | Sequence[bytes] | NDArray[np.integer]
_NEWLINE, _CARRIAGE_RETURN, _SPACE, _TAB = 10, 13, 32, 9
_BLOCK_ROWS = 65536  # rows that are treated at once where a row passes through something larger than itself
_BLOCK_BYTES = 2**22  # of words that are gathered at once
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # which Excel and Notepad write before UTF-8
ONE_WORD = re.compile("utt2(spk|rec|dur|category|channel|samples|num_samples|num_frames|lang|uniq)|reco2dur|spk2gender")
"""Tables, by name, whose value is one word: a second one is of another kind of table, or a name with a space."""
_FREE_TEXT = frozenset(("text",))
"""Tables of sentences: their values are objects where one line is so long that an array would be mostly empty."""
_MOST_EMPTY = 64  # times the bytes of the words that an array of fixed width may have, unless it is small
_SMALL_BYTES = 2**28


def as_words(words: Column) -> Words:
    """Any sequence of words or integers as an array of fixed-width bytes."""
    array = np.asarray(words)
    if array.size == 0:
        return np.zeros(0, dtype="S1")
    return np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array.astype(np.bytes_, copy=False)


def text(word: bytes) -> str:
    """A word as a human reads it."""
    return word.decode("utf-8", errors="replace")


def characters(words: Words) -> NDArray[np.uint8]:
    """The bytes of the words, (N, width), 0 after the end of each; a view where the words lie side by side."""
    return np.ascontiguousarray(words).view(np.uint8).reshape(len(words), words.dtype.itemsize)


def first_words(words: Words, limit: int = 5) -> str:
    """The first few words for a message."""
    return ", ".join(text(word) for word in words[:limit]) + (", ..." if len(words) > limit else "")


def blocks(rows: int) -> Iterator[slice]:
    """Slices of bounded size that together are all rows."""
    return (slice(begin, min(rows, begin + _BLOCK_ROWS)) for begin in range(0, rows, _BLOCK_ROWS))


def concatenate(parts: Sequence[Words]) -> Words:
    """Arrays of words of any width, one after the other; none at all where there is no part."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype="S1")


def joined(*parts: Words | bytes) -> Words:
    """Words put together row by row; a part that is one word is the same in every row."""
    result: Words = functools.reduce(np.char.add, parts)  # type: ignore[arg-type]
    return result


def formatted(rows: int, line: Callable[[slice], Sequence[bytes]]) -> Words:
    """Words that Python formats, made in blocks so that few of them are objects at the same time."""
    return concatenate([np.array(line(block), dtype=np.bytes_) for block in blocks(rows)])


def gather(buffer: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Words:
    """The stretches [start, end) of a byte buffer as one array of fixed-width words."""
    if len(starts) == 0:
        return np.zeros(0, dtype="S1")
    lengths = ends - starts
    width = max(1, int(lengths.max()))
    gathered = np.zeros((len(starts), width), dtype=np.uint8)
    columns, rows = np.arange(width), min(_BLOCK_ROWS, max(1, _BLOCK_BYTES // width))
    for begin in range(0, len(starts), rows):
        block = slice(begin, begin + rows)
        inside = columns < lengths[block, None]
        gathered[block][inside] = buffer[(starts[block, None] + columns)[inside]]
    return gathered.view(f"S{width}")[:, 0]


def integers(words: Words, path: str | Path) -> NDArray[np.int64]:
    """Words of decimal digits as integers; the first that is none is named with its line of `path`."""
    digits = characters(words)
    blank = digits == 0
    wrong = (
        (~blank & ((digits < ord("0")) | (digits > ord("9")))).any(axis=1) | blank[:, 0] | ((~blank).sum(axis=1) > 18)
    )
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(f"{path}:{line + 1}: expected a whole number, found {text(words[line])!r}.")
    value = np.zeros(len(words), dtype=np.int64)
    for column in range(digits.shape[1]):
        value = np.where(blank[:, column], value, value * 10 + (digits[:, column] - np.int64(ord("0"))))
    return value


def read_bytes(path: str | Path, may_lack_newline: bool = False) -> NDArray[np.uint8]:
    """The bytes of a text file that must be UTF-8, end with a newline and have no carriage returns or NULs.

    A byte-order mark before it is passed over. `may_lack_newline` adds a missing last newline, for lists in which a
    line cut short cannot pass as another one.
    """
    contents = Path(path).read_bytes().removeprefix(_BYTE_ORDER_MARK)
    if not contents:
        raise ValueError(f"{path}: empty; expected at least one line. Make it anew.")
    try:
        contents.isascii() or contents.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{contents[: error.start].count(10) + 1}: not UTF-8 text.") from None
    for byte, name in ((_CARRIAGE_RETURN, "a carriage return (Windows line end; run dos2unix)"), (0, "a NUL byte")):
        if byte in contents:
            line = contents[: contents.index(byte)].count(_NEWLINE) + 1
            raise ValueError(f"{path}:{line}: {name} in a text table.")
    if contents[-1] != _NEWLINE:
        if may_lack_newline:
            return np.frombuffer(contents + b"\n", dtype=np.uint8)
        line = contents.count(_NEWLINE) + 1
        raise ValueError(f"{path}:{line}: the last line has no newline: the file may be cut short. Make it anew.")
    return np.frombuffer(contents, dtype=np.uint8)


def is_space(buffer: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which bytes are spaces or tabs."""
    spaces: NDArray[np.bool_] = (buffer == _SPACE) | (buffer == _TAB)
    return spaces


def read_rows(path: str | Path) -> tuple[Words, Words]:
    """Keys and values in the order of the file; duplicates pass (see read_table)."""
    buffer = read_bytes(path)
    ends = np.flatnonzero(buffer == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    spaces = np.append(np.flatnonzero(is_space(buffer)), len(buffer))
    key_ends = np.minimum(spaces[np.searchsorted(spaces, starts)], ends)
    value_starts, value_ends = key_ends, ends.copy()
    while (moving := is_space(buffer[value_starts]) & (value_starts < ends)).any():
        value_starts = value_starts + moving
    while (moving := (value_ends > value_starts) & is_space(buffer[value_ends - 1])).any():
        value_ends = value_ends - moving
    for wrong, what in (
        (key_ends == starts, "a key at the beginning of the line"),
        (value_starts >= value_ends, "a value"),
    ):
        if wrong.any():
            line = int(wrong.argmax())
            found = text(buffer[starts[line] : ends[line]].tobytes())
            raise ValueError(
                f"{path}:{line + 1}: expected a key, a space and a value; found no {what[2:]} in {found!r}."
            )
    keys = _gather_even(path, buffer, starts, key_ends)
    if Path(path).name in _FREE_TEXT and _is_wasteful(value_starts, value_ends):
        whole = buffer.tobytes()
        lines = [whole[begin:end] for begin, end in zip(value_starts.tolist(), value_ends.tolist(), strict=True)]
        return keys, np.array(lines, dtype=np.object_)
    values = _gather_even(path, buffer, value_starts, value_ends)
    if ONE_WORD.fullmatch(Path(path).name):
        _require_one_word(path, values)
    return keys, values


def _is_wasteful(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    """Would an array as wide as the longest word be large and nearly empty?"""
    lengths = ends - starts
    size = len(lengths) * int(lengths.max(initial=1))
    return size > max(_SMALL_BYTES, _MOST_EMPTY * int(lengths.sum()))


def _gather_even(
    path: str | Path, buffer: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> Words:
    """The stretches of a file as words; ValueError names a line that is so long that no table has it."""
    if _is_wasteful(starts, ends):
        place = int((ends - starts).argmax())
        line = int((buffer[: starts[place]] == _NEWLINE).sum()) + 1
        raise ValueError(
            f"{path}:{line}: {ends[place] - starts[place]} characters in one place, where the {len(starts)} lines have"
            f" {int((ends - starts).mean())} in the mean: is the file damaged? It begins"
            f" {text(buffer[starts[place] : starts[place] + 40].tobytes())!r}."
        )
    return gather(buffer, starts, ends)


def _require_one_word(path: str | Path, values: Words) -> None:
    for block in blocks(len(values)):
        wrong = is_space(characters(values[block])).any(axis=1)
        if wrong.any():
            line = block.start + int(wrong.argmax())
            raise ValueError(
                f"{path}:{line + 1}: expected one word after the key, found {text(values[line])!r}."
                " Names have no spaces; another column is a table of its own."
            )


def read_columns(path: str | Path, count: int | tuple[int, ...], may_lack_newline: bool = False) -> list[Words]:
    """A table of exactly `count` words per line (of several counts: as many as the first line has), by column."""
    buffer = read_bytes(path, may_lack_newline)
    in_word = np.concatenate([[False], ~(is_space(buffer) | (buffer == _NEWLINE)), [False]])
    starts = np.flatnonzero(in_word[1:] & ~in_word[:-1])
    ends = np.flatnonzero(~in_word[1:] & in_word[:-1])
    words_before_end = np.searchsorted(starts, np.flatnonzero(buffer == _NEWLINE))
    words_in_line = np.diff(words_before_end, prepend=0)
    counts = (count,) if isinstance(count, int) else count
    taken = int(words_in_line[0]) if words_in_line[0] in counts else counts[0]
    if (words_in_line != taken).any():
        line = int((words_in_line != taken).argmax())
        expected = " or ".join(map(str, counts if line == 0 else (taken,)))
        raise ValueError(f"{path}:{line + 1}: expected {expected} words, found {words_in_line[line]}.")
    return [_gather_even(path, buffer, starts[column::taken], ends[column::taken]) for column in range(taken)]


def numbers(words: Words, path: str | Path) -> NDArray[np.float64]:
    """Words as finite numbers; the first that is none is named with its line of `path`."""
    try:
        values = words.astype(np.float64)
    except ValueError:
        values = np.array([_number(word) for word in words.tolist()])
    if not np.isfinite(values).all():
        line = int((~np.isfinite(values)).argmax())
        raise ValueError(f"{path}:{line + 1}: expected a number, found {text(words[line])!r}.")
    return values


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def is_sorted(keys: Words) -> bool:
    """Are the keys unique and in the order of LC_ALL=C sort?"""
    return bool((keys[1:] > keys[:-1]).all())


def read_table(path: str | Path) -> tuple[Words, Words]:
    """Keys and values of a table, in the order of the file; a key that stands twice is an error with both lines."""
    keys, values = read_rows(path)
    if not is_sorted(keys):
        order = np.argsort(keys, kind="stable")
        twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        if len(twice):
            first, second = sorted((int(order[twice[0]]), int(order[twice[0] + 1])))
            raise ValueError(
                f"{path}:{second + 1}: the key {text(keys[second])} is there already on line {first + 1}"
                f" ({len(twice)} such keys). Keys must be unique."
            )
    return keys, values


def written_lines(keys: Words, values: Words) -> Iterator[bytes]:
    """The lines of a table as they are written, many at a time, so that few rows are objects at once."""
    for block in blocks(len(keys)):
        pairs = zip(keys[block].tolist(), values[block].tolist(), strict=True)
        yield b"".join(b"%b %b\n" % pair for pair in pairs)


def write_table(path: str | Path, keys: Column, values: Column) -> None:
    """Write a table whole or not at all; keys must be unique, sorted and without white space."""
    keys, values = as_words(keys), _as_values(values)
    if len(keys) != len(values):
        raise ValueError(f"{path}: {len(keys)} keys but {len(values)} values.")
    if len(keys) == 0:
        raise ValueError(f"{path}: nothing to write: a table needs at least one line.")
    if not is_sorted(keys):
        raise ValueError(f"{path}: keys must be unique and sorted (LC_ALL=C).")
    for words, what in ((keys, "key"), (values, "value")):
        wrong = _cannot_be_written(words)
        if what == "key":
            wrong |= is_space(characters(words)).any(axis=1)
        if wrong.any():
            raise ValueError(f"{path}: {text(words[wrong.argmax()])!r} cannot be a {what} of a table.")
    with artifacts.replacing(path, "wb") as stream:
        stream.writelines(written_lines(keys, values))


def _as_values(values: Column) -> Words:
    """Words, or objects as read_rows gives them."""
    is_objects = isinstance(values, np.ndarray) and values.dtype == np.object_
    return cast(Words, values) if is_objects else as_words(values)


def _cannot_be_written(words: Words) -> NDArray[np.bool_]:
    """Which words are empty or have a line end in them."""
    if words.dtype == np.object_:
        return np.array([not word or b"\n" in word for word in words.tolist()], dtype=np.bool_)
    written = characters(words)
    wrong: NDArray[np.bool_] = (written == _NEWLINE).any(axis=1) | (written[:, 0] == 0)
    return wrong
