"""What all preparation of data directories shares: unreadable files set aside, and each directory made once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import artifacts, logs
from sslsv_tk.audio import headers
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.kaldi import directories, tables
from sslsv_tk.kaldi.tables import Words, text

log = logs.logger("preparation")
_MOST_NAMED = 20


@dataclass(frozen=True)
class Headers:
    """What the headers of some files say, one row per file: `rates_hz`, `channels`, and `samples` per channel."""

    rates_hz: NDArray[np.int64]
    channels: NDArray[np.int64]
    samples: NDArray[np.int64]

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.samples / self.rates_hz


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


def read_headers(keys: Words, paths: Words, tolerance: float, listed_in: Path) -> tuple[NDArray[np.int64], Headers]:
    """The rows of the usable files and what their headers say; see check_rejected for the others."""
    rates_hz, channels, samples = np.zeros((3, len(paths)), dtype=np.int64)
    rejected: dict[str, str] = {}
    for row, found in enumerate(headers.read_headers(paths)):
        if isinstance(found, UnreadableAudio):
            rejected[text(keys[row])] = str(found)
        else:
            rates_hz[row], channels[row], samples[row] = found.rate_hz, found.channels, found.samples
    check_rejected(rejected, len(paths), tolerance, listed_in)
    usable = np.flatnonzero(samples)
    return usable, Headers(rates_hz[usable], channels[usable], samples[usable])


def make_once(
    out: Path,
    options: Mapping[str, Any],
    inputs: Mapping[str, str],
    force: bool,
    make: Callable[[], None],
) -> None:
    """Run `make`, which writes the data directory `out`, unless it is there already, made just so.

    One made otherwise raises StaleArtifact, unless `force`; one whose tables are damaged is made anew.
    """
    if not force and artifacts.made_as(out, options, inputs):
        try:
            found = directories.validate(out, speaker_prefix=False)
            log.info("%s is complete: %d utterances; nothing to do", out, len(found.keys))
            return
        except (ValueError, OSError) as error:
            log.warning("%s is made anew: %s", out, error)
    (out / artifacts.RECORD).unlink(missing_ok=True)
    if out.is_dir():
        directories.remove_temporaries(out)
    make()
    directories.validate(out, speaker_prefix=False)
    artifacts.record(out, options, inputs)
