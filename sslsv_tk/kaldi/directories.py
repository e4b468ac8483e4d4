"""Kaldi data directories: text tables with one line per utterance, sorted as LC_ALL=C sort does, unique keys.

wav.scp       utterance -> audio file (with segments: file id -> audio file)
segments      utterance -> file id, start and end in seconds: the utterance is a cut of it (see kaldi/segments.py)
feats.scp     utterance -> ark and byte of its features: in place of wav.scp where they are taken as they came
utt2num_frames  beside that: utterance -> frames
utt2spk       utterance -> speaker (itself where the speaker is unknown); spk2utt is its inverse
utt2rec       utterance -> recording, the session it was cut from
utt2dur       utterance -> seconds
utt2category  noise sets: noise, speech or music
utt2channel   the channel to take of a file with several, counted from 1
vad.scp       which 10 ms frames of an utterance are speech, as Kaldi's compute-vad writes it (see audio/vad.py)
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, digests
from sslsv_tk.kaldi import carried, segments, tables
from sslsv_tk.kaldi.segments import Cuts
from sslsv_tk.kaldi.tables import Words, read_table, text, write_table

_COLUMNS = {
    "speakers": "utt2spk",
    "recordings": "utt2rec",
    "durations": "utt2dur",
    "categories": "utt2category",
    "channels": "utt2channel",
    "vad": "vad.scp",
}
TABLES = ("wav.scp", "segments", *_COLUMNS.values(), "spk2utt")
Listing = Literal["wav.scp", "feats.scp"]
AUDIO: Listing = "wav.scp"
FEATURES: Listing = "feats.scp"
FRAMES = "utt2num_frames"


@dataclass(frozen=True)
class DataDirectory:
    """The tables as arrays, one row per utterance; None where the directory lacks the table.

    `values` is the audio file of each utterance (the file that it is cut from, with `cuts`), or, as `table` says, the
    place of its features, whose lengths are `frames`; `durations` are seconds; `channels` count from 1; `vad` is where
    the speech decisions of each utterance stand.
    """

    keys: Words
    values: Words
    speakers: Words | None = None
    recordings: Words | None = None
    durations: NDArray[np.float64] | None = None
    categories: Words | None = None
    channels: NDArray[np.int64] | None = None
    vad: Words | None = None
    cuts: Cuts | None = None
    frames: NDArray[np.int64] | None = None
    table: Listing = AUDIO

    @classmethod
    def load(cls, path: str | Path, features: bool = False) -> "DataDirectory":
        """Read the tables; ValueError unless each is sorted and lists the same utterances.

        `features` takes feats.scp where wav.scp is there too; without wav.scp it is taken anyway.
        """
        folder = Path(path)
        table = table_of(folder, features)
        keys, values = _read_sorted(folder / table)
        cuts = in_segments = None
        if (folder / "segments").is_file() and table == "wav.scp":
            keys, values, cuts, in_segments = _read_segments(folder, keys, values)
        columns = {field: _read_column(folder, name, keys) for field, name in _COLUMNS.items()}
        seconds, channels = columns.pop("durations"), columns.pop("channels")
        counted = _read_column(folder, FRAMES, keys) if table == FEATURES else None
        durations = None if seconds is None else tables.numbers(seconds, folder / "utt2dur")
        if durations is not None and (durations <= 0).any():
            line = int((durations <= 0).argmax())
            raise ValueError(
                f"{folder}/utt2dur:{line + 1}: {text(keys[line])} lasts {durations[line]:g} s; expected > 0."
            )
        numbers = None if channels is None else tables.integers(channels, folder / "utt2channel")
        if numbers is not None and in_segments is not None and (numbers != in_segments).any():
            key = text(keys[(numbers != in_segments).argmax()])
            raise ValueError(f"{folder}: utt2channel and the last column of segments name other channels for {key}.")
        frames = None if counted is None else tables.integers(counted, folder / FRAMES)
        return cls(
            keys,
            values,
            durations=durations,
            channels=in_segments if numbers is None else numbers,
            cuts=cuts,
            frames=frames,
            table=table,
            **columns,
        )

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "DataDirectory":
        """The same tables for some of the utterances."""
        columns = {name: getattr(self, name) for name in ("keys", "values", "frames", *_COLUMNS)}
        chosen: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
        cuts = self.cuts and Cuts(self.cuts.files[rows], self.cuts.starts[rows], self.cuts.ends[rows])
        return DataDirectory(**chosen, cuts=cuts, table=self.table)

    def write(self, path: str | Path) -> None:
        """Write every table, wav.scp (or feats.scp) last, and remove tables of an earlier content that this one lacks.

        feats.scp beside wav.scp stays as it is: stage 3 writes it there.
        """
        folder = Path(path)
        seconds = None if self.durations is None else _decimals(self.durations)
        for field, name in _COLUMNS.items():
            column = seconds if field == "durations" else getattr(self, field)
            if column is None:
                (folder / name).unlink(missing_ok=True)
            else:
                write_table(folder / name, self.keys, column)
        if self.speakers is None:
            (folder / "spk2utt").unlink(missing_ok=True)
        else:
            with artifacts.replacing(folder / "spk2utt", "wb") as stream:
                stream.writelines(spk2utt_lines(self.keys, self.speakers))
        self._write_places(folder)

    def _write_places(self, folder: Path) -> None:
        if self.table == FEATURES:
            for name in ("wav.scp", "segments", *([FRAMES] if self.frames is None else [])):
                (folder / name).unlink(missing_ok=True)
            if self.frames is not None:
                write_table(folder / FRAMES, self.keys, self.frames)
            write_table(folder / FEATURES, self.keys, self.values)
            return
        if self.cuts is None:
            (folder / "segments").unlink(missing_ok=True)
            write_table(folder / "wav.scp", self.keys, self.values)
            return
        to_end = np.isinf(self.cuts.ends)
        starts = _decimals(self.cuts.starts)
        ends = np.where(to_end, b"-1", _decimals(np.where(to_end, 0.0, self.cuts.ends)))
        write_table(folder / "segments", self.keys, tables.joined(self.cuts.files, b" ", starts, b" ", ends))
        files, first = np.unique(self.cuts.files, return_index=True)
        write_table(folder / "wav.scp", files, self.values[first])


def listing(folder: str | Path, first: Listing = AUDIO) -> Listing | None:
    """The table that lists the utterances of a folder: `first` where it is there, else the other; None: neither is.

    In a data directory the audio comes first, since features of unknown make lie beside it; in a dump folder feats.scp,
    whose wav.scp only says which audio the features are of.
    """
    both = sorted((AUDIO, FEATURES), key=lambda name: name != first)
    return next((name for name in both if (Path(folder) / name).is_file()), None)


def table_of(folder: Path, features: bool = False) -> Listing:
    """The table that lists the utterances of a data directory; ValueError where there is none."""
    found = listing(folder, FEATURES if features else AUDIO)
    if features and found != FEATURES:
        raise ValueError(f"{folder}: no feats.scp, so no features to keep. Compute them from the audio.")
    if found is None:
        raise ValueError(f"{folder}: no wav.scp, so not a data directory. Stages 1 and 2 make them.")
    return found


def _decimals(numbers: NDArray[np.float64]) -> Words:
    """Seconds as text, to the microsecond."""
    return tables.formatted(len(numbers), lambda block: [b"%.6f" % number for number in numbers[block].tolist()])


def spk2utt_lines(keys: Words, speakers: Words) -> Iterator[bytes]:
    """The lines of spk2utt, the inverse of utt2spk: a speaker and all its utterances."""
    order = np.argsort(speakers, kind="stable")
    ordered = speakers[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    for begin, end in itertools.pairwise([*begins.tolist(), len(order)]):
        yield b" ".join([ordered[begin], *keys[order[begin:end]].tolist()]) + b"\n"


def _read_sorted(path: Path) -> tuple[Words, Words]:
    keys, values = read_table(path)
    if not tables.is_sorted(keys):
        line = int((keys[1:] <= keys[:-1]).argmax()) + 2
        raise ValueError(
            f"{path}:{line}: {text(keys[line - 1])} follows {text(keys[line - 2])}: not in the order of LC_ALL=C sort."
            " utils/fix_data_dir.sh sorts it."
        )
    return keys, values


def _read_segments(folder: Path, files: Words, audio: Words) -> tuple[Words, Words, Cuts, NDArray[np.int64] | None]:
    """Utterances, the audio file of each, where in it they stand, and its channel where the table says it."""
    path = folder / "segments"
    keys, _ = _read_sorted(path)
    found = segments.read(path)
    cuts, rows = found.cuts, find_rows(files, found.cuts.files)
    for wrong, what in (
        (rows < 0, "the file is not in wav.scp"),
        (cuts.starts < 0, "starts before 0"),
        (cuts.ends <= cuts.starts, "ends before it starts"),
    ):
        if wrong.any():
            line = int(wrong.argmax())
            cut = f"{text(keys[line])} {text(cuts.files[line])} {cuts.starts[line]:g} {cuts.ends[line]:g}"
            raise ValueError(f"{path}:{line + 1}: {cut}: {what}. utils/fix_data_dir.sh removes lines without a file.")
    return keys, audio[rows], cuts, found.channels


def find_rows(keys: Words, names: Words) -> NDArray[np.int64]:
    """The row of each name among sorted keys, -1 where it is none of them."""
    if len(keys) == 0:
        return np.full(len(names), -1)
    rows = np.minimum(np.searchsorted(keys, names), len(keys) - 1)
    return np.where(keys[rows] == names, rows, -1)


def _read_column(folder: Path, name: str, keys: Words) -> Words | None:
    """The values of an optional table that must list exactly `keys`."""
    if not (folder / name).is_file():
        return None
    found, values = _read_sorted(folder / name)
    if len(found) != len(keys) or (found != keys).any():
        missing, extra = np.setdiff1d(keys, found), np.setdiff1d(found, keys)
        parts = [f"lacks {len(missing)} ({tables.first_words(missing)})"] if len(missing) else []
        parts += [f"has {len(extra)} that are not there ({tables.first_words(extra)})"] if len(extra) else []
        whole = "segments" if (folder / "segments").is_file() else table_of(folder)
        raise ValueError(
            f"{folder}/{name} does not list the utterances of {whole}: {' and '.join(parts)}."
            " utils/fix_data_dir.sh keeps what all tables have."
        )
    return values


def validate(path: str | Path, speaker_prefix: bool = True) -> DataDirectory:
    """Check a data directory by the rules of Kaldi; ValueError names the first line that breaks one.

    Keys sorted and unique, the same in every table, durations above 0, spk2utt the inverse of utt2spk, and, unless
    `speaker_prefix` is False, the speaker a prefix of its utterances. Nothing here needs the latter: it is Kaldi's.
    Of tables that are carried along only, the numbers and genders are checked.
    """
    folder, found = Path(path), DataDirectory.load(path)
    if found.table == AUDIO:
        carried.check_no_home(folder / AUDIO, found.values)
    carried.check(folder, found.speakers)
    if (folder / "spk2utt").is_file() != (found.speakers is not None):
        raise ValueError(f"{folder}: utt2spk and spk2utt come together. utils/fix_data_dir.sh makes spk2utt.")
    if found.speakers is not None:
        prefixed = np.char.startswith(found.keys, found.speakers)
        if speaker_prefix and not prefixed.all():
            line = int((~prefixed).argmax())
            raise ValueError(
                f"{folder}/utt2spk:{line + 1}: the speaker {text(found.speakers[line])} is no prefix of its utterance"
                f" {text(found.keys[line])}, so sorting by utterance does not sort by speaker. Rename the utterances,"
                " or say --no-spk-sort where no tool of Kaldi reads the directory."
            )
        _validate_spk2utt(folder, found.keys, found.speakers)
    return found


def _validate_spk2utt(folder: Path, keys: Words, speakers: Words) -> None:
    with open(folder / "spk2utt", "rb") as stream:
        pairs = itertools.zip_longest(spk2utt_lines(keys, speakers), stream, fillvalue=b"")
        for number, (expected, found) in enumerate(pairs, start=1):
            if expected.split() != found.split():
                raise ValueError(
                    f"{folder}/spk2utt:{number}: not the inverse of utt2spk: expected the line"
                    f" {text(expected[:60].strip())!r}, found {text(found[:60].strip())!r}."
                    " utils/fix_data_dir.sh makes it anew."
                )


def fingerprints(path: str | Path, features: bool = False) -> dict[str, str]:
    """A digest of each table of a data directory by its name, for the record of what is made of it.

    Those of features count where they are taken: `features`, or where there is no wav.scp. The folder is no part of
    the name, so that data/train and its absolute path are the same input.
    """
    taken = features or listing(path) != AUDIO
    files = [Path(path) / name for name in ((*TABLES, FEATURES, FRAMES) if taken else TABLES)]
    return {file.name: digests.of_file(file) for file in files if file.is_file()}


def remove_temporaries(folder: str | Path, of: str = "*", older_than: float = 0.0) -> None:
    """Remove what a killed process left under temporary names; `of`: those of this file alone.

    `older_than` seconds spares those of a process that may be at work.
    """
    for stray in Path(folder).glob(f".{of}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if not older_than or time.time() - stray.stat().st_mtime > older_than:
                stray.unlink()
