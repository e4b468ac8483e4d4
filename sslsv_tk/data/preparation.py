"""What all preparation of data directories shares: unreadable files set aside, and each directory made once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sslsv_tk import artifacts, logs
from sslsv_tk.data import audio_files, decoding, directories, tables
from sslsv_tk.data.audio_files import AudioFile
from sslsv_tk.data.decoding import Header, UnreadableAudio

log = logs.logger("preparation")
_MOST_NAMED = 20


def check_tolerance(tolerance: float) -> None:
    """ValueError unless the tolerance is a share of the files."""
    if not 0 <= tolerance < 1:
        raise ValueError(f"--tolerance is a share of the files in [0, 1), found {tolerance:g}.")


def check_rejected(rejected: Mapping[str, str], total: int, tolerance: float, listed_in: Path) -> None:
    """Name what cannot be used, write it to `listed_in`, and stop where its share is above the tolerance."""
    if not rejected:
        listed_in.unlink(missing_ok=True)
        return
    keys = sorted(rejected, key=str.encode)
    tables.write_table(listed_in, keys, [" ".join(rejected[key].split()) for key in keys])
    for key in keys[:_MOST_NAMED]:
        log.warning("left out: %s", rejected[key])
    share = len(rejected) / total
    if share > tolerance:
        raise ValueError(
            f"{len(rejected)} of {total} audio files cannot be used (first: {rejected[keys[0]]}; all: {listed_in}),"
            f" a share of {share:.2g} where the tolerance is {tolerance:g}. Repair them, or raise --tolerance."
        )
    log.warning("left out %d of %d audio files; all are listed in %s", len(rejected), total, listed_in)


def read_headers(files: Mapping[str, AudioFile], tolerance: float, listed_in: Path) -> dict[str, Header]:
    """The headers of the usable files by key; see check_rejected for the others."""
    headers: dict[str, Header] = {}
    rejected: dict[str, str] = {}
    for key, found in zip(files, decoding.read_headers([file.path for file in files.values()]), strict=True):
        if isinstance(found, UnreadableAudio):
            rejected[key] = str(found)
        else:
            headers[key] = found
    check_rejected(rejected, len(files), tolerance, listed_in)
    return headers


def unique_keys(files: Sequence[AudioFile], key_of: Callable[[AudioFile], str]) -> dict[str, AudioFile]:
    """Files by key, sorted by LC_ALL=C; ValueError names both paths where two files have the same key."""
    found: dict[str, AudioFile] = {}
    for file in files:
        key = audio_files.check_name(file, key_of(file))
        if key in found:
            raise ValueError(f"{found[key].path} and {file.path} both have the id {key}. Remove or rename one of them.")
        found[key] = file
    return {key: found[key] for key in sorted(found, key=str.encode)}


def make_once(
    out: Path, options: Mapping[str, Any], inputs: Mapping[str, str], force: bool, make: Callable[[], None]
) -> None:
    """Run `make`, which writes the data directory `out`, unless it is there already, made just so.

    One made otherwise raises StaleArtifact, unless `force`; one whose tables are damaged is made anew.
    """
    if not force and artifacts.made_as(out, options, inputs):
        try:
            found = directories.validate(out)
            log.info("%s is complete: %d utterances; nothing to do", out, len(found.keys))
            return
        except (ValueError, OSError) as error:
            log.warning("%s is made anew: %s", out, error)
    (out / artifacts.RECORD).unlink(missing_ok=True)
    if out.is_dir():
        directories.remove_temporaries(out)
    make()
    directories.validate(out)
    artifacts.record(out, options, inputs)
