"""Log-mel features in Kaldi arks, and a reader that takes only the frames it needs.

dump/fbank/SET has feats.scp (`utt path.ark:offset`), utt2num_frames, the tables of the set, and made.json, which says
with which settings the frames were computed. Kaldi's own folders are read as well.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import logs, records, seeds
from sslsv_tk.arks import indexes, matrices
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.arks.entries import Entries
from sslsv_tk.arks.indexes import ArchiveKind, Index
from sslsv_tk.arks.matrices import MatrixHeader
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.tables import text

Maker = Literal["computed", "kept"]
STAGE = "stage 3 with --feats-type fbank"
log = logs.logger("features")


def of_tables(folder: Path) -> Index:
    """The index by feats.scp and utt2num_frames; lengths are read from every header where there is no such table."""
    keys, paths, offsets = indexes.read_scp(folder / "feats.scp")
    index = indexes.of_columns(keys, paths, offsets, np.zeros(len(keys), dtype=np.int64))
    path = folder / "utt2num_frames"
    if path.is_file():
        frames = tables.integers(FEATURES.column(folder, path.name, keys), path)
    else:
        log.info("%s: no utt2num_frames; reading %d headers", folder, len(keys))
        entries: Entries[np.float32] = Entries(folder, FEATURES, index)
        frames = np.fromiter((_header(entries, row).rows for row in range(len(keys))), dtype=np.int64, count=len(keys))
    if not (frames > 0).all():
        raise ValueError(f"{path}:{(frames == 0).argmax() + 1}: an utterance without frames. Run {STAGE} again.")
    return replace(index, lengths=frames)


def _header(entries: Entries[np.float32], row: int) -> MatrixHeader:
    found = entries.head(row, matrices.MOST_HEADER_BYTES)
    header = matrices.parse_header(found)
    if header is None:
        raise ValueError(
            f"{entries.place(row)}: expected a binary Kaldi matrix ({', '.join(matrices.KINDS)}), found"
            f" {found[:16]!r}. {entries.remedy}"
        )
    return header


def maker(folder: Path) -> Maker | None:
    """Who made the frames of a folder: stage 3 computed them, or they were kept; None: no made.json tells."""
    record = records.read(folder)
    if record is None:
        return None
    return "kept" if record.options.get("features") == "kept" else "computed"


FEATURES = ArchiveKind(
    *("features.index", "feats.scp", "utt2num_frames", (), "features", "frames", STAGE, of_tables),
    is_of_others=lambda folder: maker(folder) != "computed",
)


class FeatureArchive(Entries[np.float32]):
    """The un-normalised frames of a folder such as dump/fbank/voxceleb2; `bands` is the width of all.

    The first read of each row compares the ark with the tables and keeps what decodes it (9 bytes per row); later ones
    read the frames alone.
    """

    def __init__(self, folder: str | Path, opened: bytes = b"") -> None:
        """`opened`: the head of the index that another process has of the folder."""
        super().__init__(Path(folder), FEATURES, indexes.load(Path(folder), FEATURES, opened))
        self._kinds = np.zeros(len(self), dtype=np.uint8)  # 0: not verified, else 1 + the place among matrices.KINDS
        self._minima = np.zeros(len(self), dtype=np.float32)
        self._ranges = np.zeros(len(self), dtype=np.float32)
        first = _header(self, 0)
        self.bands, self.first_kind = first.columns, first.kind
        self._open_files.clear()  # each process opens its own

    @property
    def frames(self) -> NDArray[np.int64]:
        """(N,) lengths."""
        return self.lengths

    def read(self, row: int, start: int, count: int) -> NDArray[np.float32]:
        """Frames [start, start + count) of an utterance, (count, bands)."""
        self.require_inside(row, start, count)
        header = self._verified(row)
        if header.kind == matrices.COLUMN_MAJOR:
            return matrices.decode_columns(header, self.stretch(row, 0, header.size), start, count)
        begin = header.place_of_row(start)
        return matrices.decode_rows(header, self.stretch(row, begin, header.place_of_row(start + count) - begin))

    def _verified(self, row: int) -> MatrixHeader:
        """The header of a row; at the first read from the ark, then from memory."""
        if code := int(self._kinds[row]):
            extent = (float(self._minima[row]), float(self._ranges[row]))
            return MatrixHeader(matrices.KINDS[code - 1], int(self.frames[row]), self.bands, *extent)
        header = _header(self, row)
        if (header.rows, header.columns) != (self.frames[row], self.bands):
            raise ValueError(
                f"{self.place(row)}: expected {self.frames[row]} frames of {self.bands} bands, found {header.rows} of"
                f" {header.columns}. {self.remedy}"
            )
        if header.kind == "DM" and self.offsets[row] + header.size > self._next_offsets[row]:
            raise ValueError(
                f"{self.place(row)}: its header says 64-bit values, which would run into the next entry. {self.remedy}"
            )
        self._minima[row], self._ranges[row] = header.minimum, header.range
        self._kinds[row] = 1 + matrices.KINDS.index(header.kind)
        return header

    @functools.cached_property
    def _next_offsets(self) -> NDArray[np.int64]:
        """(N,) where the next entry of the same ark begins: 64-bit values are told from 32-bit ones by one byte."""
        order = np.lexsort((self.offsets, self.file_of_row))
        files, offsets = self.file_of_row[order], self.offsets[order]
        is_next = (files[1:] == files[:-1]) & (offsets[1:] > offsets[:-1])
        found = np.full(len(self), np.iinfo(np.int64).max)
        found[order[:-1]] = np.where(is_next, offsets[1:], found[:-1])
        return found


Archive = AudioArchive | FeatureArchive


def has_features(folder: str | Path) -> bool:
    """Is it a folder of features (else: of packed audio)?"""
    return directories.listing(folder, directories.FEATURES) == directories.FEATURES


def open_archive(folder: str | Path) -> Archive:
    """The features or the packed audio of a folder."""
    return FeatureArchive(folder) if has_features(folder) else AudioArchive(folder)


def refuse_other_kind(feats_type: str, folder: str | Path) -> None:
    """ValueError where a system of this frontend.feats_type is given a folder of the other kind."""
    found, holds = "fbank" if has_features(folder) else "raw", {"raw": "audio", "fbank": "features"}
    if found != feats_type and Path(folder).is_dir():
        raise ValueError(
            f"{folder} holds {holds[found]}, and the system's frontend.feats_type is {feats_type}: it reads"
            f" {holds[feats_type]}. Give dump/{feats_type}/{Path(folder).name}, or train a system with"
            f" frontend.feats_type={found}."
        )


def check_settings(archive: FeatureArchive, settings: Mapping[str, Any]) -> None:
    """ValueError where the frames were computed with other settings of the front end than these.

    `settings`: by name, `bands` among them. Folders without made.json (Kaldi's) are compared by their bands alone.
    """
    if archive.bands != settings["bands"]:
        raise ValueError(
            f"{archive.folder} has {archive.bands} bands; frontend.bands is {settings['bands']}. Set it to"
            f" {archive.bands}, or run {STAGE} into another --dumpdir."
        )
    record = records.read(archive.folder)
    if record is None:
        log.warning("%s: no made.json, so only the number of bands could be compared", archive.folder)
        return
    for name, value in settings.items():
        found = record.options.get(f"frontend.{name}", value)
        if found != value:
            raise ValueError(
                f"{archive.folder} was computed with frontend.{name} = {found}; the configuration says {value}."
                f" Set it to {found}, or run {STAGE} into another --dumpdir."
            )


class CopiedFeatures:
    """The clean features of a training set and of its offline copies, by the rows of the clean ones.

    The copy `noise` of dump/fbank/SET lies in dump/fbank/SET_noise, its utterances are `<utterance>-noise`. The name
    `clean` stands for the clean set among the copies.
    """

    def __init__(self, clean: FeatureArchive, copies: Sequence[str]) -> None:
        self.clean, self.names = clean, tuple(copies)
        self._archives: list[FeatureArchive] = []
        self._rows: list[NDArray[np.int32]] = []
        for name in copies:
            self._archives.append(clean if name == "clean" else self._open(name))
            self._rows.append(self._rows_of(self._archives[-1], "" if name == "clean" else f"-{name}"))

    def __reduce__(self) -> tuple[Any, ...]:
        return CopiedFeatures, (self.clean, self.names)  # the rows are found again: loader workers are sent none

    def _open(self, name: str) -> FeatureArchive:
        folder = self.clean.folder.with_name(f"{self.clean.folder.name}_{name}")
        if not has_features(folder):
            raise ValueError(
                f"{folder}: no feats.scp, so the copy {name} is not there. Run stages 2 and 3 with --feats-type fbank,"
                " or leave it out of augmentation.copies."
            )
        archive = FeatureArchive(folder)
        archive.compares = self.clean.compares
        if archive.bands != self.clean.bands:
            raise ValueError(f"{folder} has {archive.bands} bands, {self.clean.folder} {self.clean.bands}.")
        return archive

    def _rows_of(self, copy: FeatureArchive, ending: str) -> NDArray[np.int32]:
        """(N,) the row of the copy of each clean utterance: often its own, which is looked at first."""
        rows = np.arange(len(self.clean), dtype=np.int32)
        for block in tables.blocks(len(rows)):
            keys = tables.joined(self.clean.keys[block], ending.encode())
            if not np.array_equal(copy.keys[block], keys):
                rows[block] = directories.find_rows(copy.keys, keys)
        if (rows < 0).any():
            lacking = self.clean.keys[rows < 0]
            raise ValueError(
                f"{copy.folder} lacks copies of {len(lacking)} utterances of {self.clean.folder}"
                f" ({tables.first_words(lacking)}). Run stages 2 and 3 with --feats-type fbank and --force true."
            )
        wrong = copy.frames[rows] != self.clean.frames
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{copy.folder}: {text(copy.keys[rows[row]])} has {copy.frames[rows[row]]} frames, the clean one"
                f" {self.clean.frames[row]}. Run {STAGE} and --force true."
            )
        return rows

    def draw(self, seed: int, epoch: int, utterance_B: NDArray[np.int64], turn: int) -> NDArray[np.int64]:
        """(B,) which copy augmented segment number `turn` (from 0) of each utterance is cut from.

        An utterance goes through a random order of its copies, so that its segments come from different ones as long
        as there are that many.
        """
        u_BC = seeds.uniform(len(self.names), seed, "copy", epoch, utterance_B)
        return np.argsort(u_BC, axis=1, kind="stable")[:, turn % len(self.names)]

    def read_looped(self, copy: int, row: int, start: int, count: int) -> NDArray[np.float32]:
        """(count, bands) of a copy of the clean row; see Entries.read_looped."""
        return self._archives[copy].read_looped(int(self._rows[copy][row]), start, count)
