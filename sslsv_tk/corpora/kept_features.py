"""Features that a data directory came with and that are used as they are: --features keep of run.sh.

Stage 1 writes data/SET with feats.scp in place of wav.scp, stage 3 compares it with the configuration and writes
dump/fbank/SET; the frames stay in the arks where they are. Other makers have other windows, scales and floors, so a
system reads either kept or computed frames (frontend.frames), never both.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sslsv_tk import artifacts, digests, logs, records
from sslsv_tk.arks import feature_archive
from sslsv_tk.arks.feature_archive import FeatureArchive, Maker
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.directories import FEATURES, FRAMES, DataDirectory
from sslsv_tk.kaldi.tables import Words, text
from sslsv_tk.records import Made
from sslsv_tk.stamps import Stamps

_SECONDS_PER_FRAME = 0.01  # of Kaldi, ESPnet and WeSpeaker, unless their configuration says otherwise
_LEAST_RATIO, _MOST_RATIO = 0.9, 1.05
log = logs.logger("kept_features")


def complete(data: Path) -> DataDirectory:
    """Add what the arks tell to a data directory of features: utt2num_frames, and utt2dur where it is not known."""
    found, archive = DataDirectory.load(data), FeatureArchive(data)
    if found.durations is None:
        found = replace(found, durations=np.asarray(archive.frames * _SECONDS_PER_FRAME, dtype=np.float64))
    found = replace(found, frames=archive.frames)
    found.write(data)
    log.info("%s: features of %d bands, kept as they are", data, archive.bands)
    return found


def take(data: Path, out: Path, settings: Mapping[str, Any], force: bool = False) -> None:
    """Write `out` (dump/fbank/SET) of data/SET after checks against the front end's `settings`, by name."""
    found = DataDirectory.load(data)
    if found.table != FEATURES:
        raise ValueError(f"{data}: expected feats.scp without wav.scp, found audio. Run stage 1 with --features keep.")
    options = {"feats_type": "fbank", "features": "kept", "frontend.bands": settings["bands"]}
    first_rows = _first_rows(found.values)
    stamps = Stamps(out / artifacts.RECORD)
    arks = _described(out, first_rows, stamps, force)
    inputs = {**directories.fingerprints(data), "arks": digests.of_value([ark["digest"] for ark in arks.values()])}
    if not force and (made := records.made_as(out, options, inputs)):
        if not (faults := made.faults(out, stamps=stamps)):
            log.info("%s is complete; nothing to do", out)
            return
        log.warning("%s; %s is written anew", "; ".join(faults), out)
    archive = FeatureArchive(data)
    _check(archive, found, settings, first_rows.values())
    (out / artifacts.RECORD).unlink(missing_ok=True)
    if out.is_dir():
        directories.remove_temporaries(out)
    shutil.rmtree(out / "parts", ignore_errors=True)  # frames that were computed here before
    replace(found, frames=archive.frames).write(out)
    outputs = arks | records.of_files(out, (*directories.TABLES, FEATURES, FRAMES))
    facts = {records.CONTENTS: _contents(archive, inputs["arks"])}
    records.write(out, Made(options, inputs), outputs, **facts).stamp(out, stamps)
    log.info(
        "%s: %d utterances, %d frames in %d arks", out, len(found.keys), int(archive.frames.sum()), len(first_rows)
    )


def _first_rows(values: Words) -> dict[bytes, int]:
    """The arks that feats.scp names, in its order, and the first row of each."""
    found: dict[bytes, int] = {}
    for block in tables.blocks(len(values)):
        arks, rows = np.unique(np.char.rpartition(values[block], b":")[:, 0], return_index=True)
        for ark, row in zip(arks.tolist(), rows.tolist(), strict=True):
            found.setdefault(ark, block.start + row)
    return dict(sorted(found.items(), key=lambda ark_and_row: ark_and_row[1]))


def _contents(archive: FeatureArchive, arks: str) -> str:
    """A digest of what the folder holds, wherever it lies: `arks` is that of the arks in the order of feats.scp."""
    _, first, file = np.unique(archive.file_of_row, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))[file]
    columns = digests.of_columns([archive.keys, archive.frames, number, archive.offsets])
    return digests.of_value([arks, columns])


def _described(out: Path, arks: Iterable[bytes], stamps: Stamps, force: bool) -> dict[str, dict[str, Any]]:
    """Size and digest of each ark, which is hashed whole unless its stamp is that of the record of `out`.

    ValueError for one that is not there. StaleArtifact, unless `force`, where one has other contents than the record
    says.
    """
    record = None if force else records.read(out)
    known = {} if record is None else record.outputs
    found = {os.path.abspath(os.fsdecode(ark)): os.fsdecode(ark) for ark in arks}
    described: dict[str, dict[str, Any]] = {}
    for name, ark in found.items():
        try:
            is_known = name in known and stamps.fit(name, Path(ark), str(known[name]["digest"]))
            described[name] = dict(known[name]) if is_known else records.of_table(Path(ark))
        except OSError as error:
            raise ValueError(f"{ark}: {error.strerror}; feats.scp names it. Is its disk mounted?") from None
    others = [name for name in described if name in known and known[name] != described[name]]
    if others:
        raise artifacts.StaleArtifact(
            f"{out} was made of other features: {len(others)} arks have other contents than then, the first is"
            f" {others[0]}. Restore them, use another folder, or take them as they are now: --force true."
        )
    return described


def _check(archive: FeatureArchive, found: DataDirectory, settings: Mapping[str, Any], rows: Iterable[int]) -> None:
    """ValueError where bands or one of `rows` are not what they should be; a warning at another number of frames."""
    if archive.bands != settings["bands"]:
        raise ValueError(
            f"{archive.folder}: expected features of {settings['bands']} bands (frontend.bands), found {archive.bands}."
            f" Give run.sh --config FILE with `frontend: {{bands: {archive.bands}}}`, or compute features of"
            f" {settings['bands']} bands from audio (--features compute)."
        )
    for row in rows:
        if not np.isfinite(archive.read(row, 0, int(archive.frames[row]))).all():
            raise ValueError(f"{text(found.values[row])}: {text(found.keys[row])} has values that are not finite.")
    if found.durations is None:
        return
    rate, expected = archive.frames.sum() / found.durations.sum(), 1 / settings["shift_seconds"]
    if not _LEAST_RATIO <= rate / expected <= _MOST_RATIO:
        log.warning(
            "%s: %.1f frames per second of utt2dur, where frontend.shift_seconds gives %.1f: frames without speech were"
            " left out, or the shift is another one (set frontend.shift_seconds)",
            archive.folder,
            rate,
            expected,
        )


def check_maker(folder: Path, wanted: Maker) -> None:
    """ValueError where the frames of a folder are not of the maker that the system reads (frontend.frames).

    Of a folder without made.json the maker is not known.
    """
    found = feature_archive.maker(folder)
    if found not in (None, wanted):
        option = {"kept": "keep", "computed": "compute"}[wanted]
        raise ValueError(
            f"{folder} holds frames that were {found}; the system reads frames that were {wanted} (frontend.frames)."
            f" Frames of two makers differ in window, scale and floor. Make this set with run.sh --features {option},"
            " or train a system on the others."
        )
