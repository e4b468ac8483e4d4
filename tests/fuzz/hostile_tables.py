"""Hostile data directories: what validate_data_dir and stage 1 make of tables with one thing changed.

The judge reads tables line by line: `key value`, split at the first blank. A change is known to be harmless (the same
table, written otherwise) or harmful; a harmless one must be read, or refused by name, and a harmful one refused.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from commands import RIGHT, WRONG, call, package

Lines = list[bytes]
SPEAKERS, UTTERANCES = 3, 4


def write_directory(folder: Path) -> None:
    """A sound data directory: wav.scp, utt2spk, utt2rec, spk2gender, and segments that cut whole files."""
    (folder / "audio").mkdir(parents=True)
    rows: dict[str, dict[str, str]] = {name: {} for name in ("wav.scp", "utt2spk", "utt2rec", "spk2gender")}
    generator = np.random.default_rng(0)
    for speaker in range(SPEAKERS):
        rows["spk2gender"][f"s{speaker}"] = "mf"[speaker % 2]
        for number in range(UTTERANCES):
            key = f"s{speaker}-r{number // 2}-u{number}"
            path = folder / f"audio/{key}.wav"
            soundfile.write(path, generator.normal(0, 0.1, 16000 + 100 * number), 16000)
            rows["wav.scp"][key], rows["utt2spk"][key] = str(path), f"s{speaker}"
            rows["utt2rec"][key] = f"s{speaker}-r{number // 2}"
    (folder / "kaldi").mkdir()
    for name, table in rows.items():
        (folder / "kaldi" / name).write_text("".join(f"{key} {value}\n" for key, value in sorted(table.items())))


def twice(lines: Lines, chance: random.Random) -> Lines:
    row = chance.randrange(len(lines))
    return [*lines[: row + 1], *lines[row:]]


def other_value(lines: Lines, chance: random.Random) -> Lines:
    """The key of one line again, with the value of another."""
    row = chance.randrange(len(lines) - 1)
    return [*lines, lines[row].split(b" ")[0] + b" " + lines[row + 1].split(b" ")[1]]


def third_word(lines: Lines, chance: random.Random) -> Lines:
    return changed(lines, chance, lambda line: line.rstrip(b"\n") + b" x\n")


def only_key(lines: Lines, chance: random.Random) -> Lines:
    return changed(lines, chance, lambda line: line.split(b" ")[0] + b"\n")


def nul(lines: Lines, chance: random.Random) -> Lines:
    return changed(lines, chance, lambda line: line[:3] + b"\0" + line[3:])


def not_utf8(lines: Lines, chance: random.Random) -> Lines:
    return changed(lines, chance, lambda line: line.rstrip(b"\n") + b"\xff\xfe\n")


def missing(lines: Lines, chance: random.Random) -> Lines:
    row = chance.randrange(len(lines))
    return lines[:row] + lines[row + 1 :]


def nothing(lines: Lines, chance: random.Random) -> Lines:
    return []


def long_line(lines: Lines, chance: random.Random) -> Lines:
    return [*lines, b"zz-r-u " + b"x" * 10_000_000 + b"\n"]


def unsorted(lines: Lines, chance: random.Random) -> Lines:
    return lines[::-1]


def windows(lines: Lines, chance: random.Random) -> Lines:
    return [line.replace(b"\n", b"\r\n") for line in lines]


def marked(lines: Lines, chance: random.Random) -> Lines:
    """With the byte-order mark that some editors write."""
    return [b"\xef\xbb\xbf" + lines[0], *lines[1:]]


def tabs(lines: Lines, chance: random.Random) -> Lines:
    return [line.replace(b" ", b"\t", 1) for line in lines]


def blanks(lines: Lines, chance: random.Random) -> Lines:
    return [line.replace(b" ", b"   ", 1).rstrip(b"\n") + b"  \n" for line in lines]


def empty_line(lines: Lines, chance: random.Random) -> Lines:
    row = chance.randrange(len(lines) + 1)
    return [*lines[:row], b"\n", *lines[row:]]


def unended(lines: Lines, chance: random.Random) -> Lines:
    return [*lines[:-1], lines[-1].rstrip(b"\n")]


def changed(lines: Lines, chance: random.Random, change: Callable[[bytes], bytes]) -> Lines:
    row = chance.randrange(len(lines))
    return [*lines[:row], change(lines[row]), *lines[row + 1 :]]


HARMFUL = (twice, other_value, third_word, only_key, nul, not_utf8, missing, nothing, long_line)
HARMLESS = (unsorted, windows, marked, tabs, blanks, empty_line, unended)


def mapping(lines: Lines) -> dict[bytes, bytes]:
    """A table read line by line; of a table that was changed harmlessly, what was meant."""
    pairs = (line.replace(b"\xef\xbb\xbf", b"").split(None, 1) for line in lines if line.strip())
    return {key: value.strip() for key, value in pairs}


def case(folder: Path, chance: random.Random) -> tuple[str, str, str]:
    """One change of one table."""
    write_directory(folder)
    name = chance.choice(["wav.scp", "utt2spk", "utt2rec"])
    change = chance.choice(HARMFUL + HARMLESS)
    path = folder / "kaldi" / name
    sound = {each: mapping((folder / "kaldi" / each).read_bytes().splitlines(True)) for each in ("utt2spk", "utt2rec")}
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True), chance)))
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    said = call(package("prepare_corpus", "--source", folder / "kaldi", "--out", out), limit=60)
    what, last = f"{name}: {change.__name__}", said.text.strip().splitlines()[-1:]
    if said.status != 0:
        return what, said.verdict_of_refusal([name, str(folder / "audio")]), "".join(last)[-300:]
    made = {each: mapping((out / each).read_bytes().splitlines(True)) for each in ("utt2spk", "utt2rec")}
    if change in HARMLESS or (name == "wav.scp" and change is not_utf8):
        return what, RIGHT if made == sound else WRONG, "".join(last)
    told = name in said.text and any(word in said.text for word in ("warning", "left out", "missing", "WARNING"))
    kept = all(made[each].items() <= sound[each].items() for each in sound)
    return what, RIGHT if told and kept else WRONG, "".join(last)[-300:]
