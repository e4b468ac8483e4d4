"""Stage 3, raw, one part of a job array: the audio of a share of the utterances decoded into an ark.

packing/parts.py says which files a part has, packing/join.py puts the parts together.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsv_tk import digests, logs
from sslsv_tk.arks import audio_archive
from sslsv_tk.arks.parted_folder import PartWriter
from sslsv_tk.arks.sources import KnownSamples, SourceDigests
from sslsv_tk.audio import decoding, sound, vad
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.audio.tally import Tally
from sslsv_tk.audio.waveforms import Source
from sslsv_tk.corpora import left_out
from sslsv_tk.corpora.noises import RESPONSE
from sslsv_tk.corpora.rejected import check_rejected, check_tolerance, files_of, require_whole
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import text
from sslsv_tk.packing import in_place, parts
from sslsv_tk.packing.join import is_complete
from sslsv_tk.packing.parts import Part, Wanted

log = logs.logger("packing")
_SECONDS_BETWEEN_LINES = 60.0
_DEFAULT = Wanted()


def pack_part(data: Path, part: Part, wanted: Wanted = _DEFAULT, tolerance: float = 0.0, force: bool = False) -> None:
    """Decode the audio of one share of the utterances into the part's ark, or index it where it is.

    Nothing is done where the part is there already, made of the same utterances. Files that cannot be used are
    listed in rejected.J; more than the share `tolerance` of them and no ark appears.
    """
    check_tolerance(tolerance)
    require_whole(data)
    whole = DataDirectory.load(data)
    if not force and is_complete(data, whole, part.out, wanted.samples):
        log.info("%s is complete; nothing to do", part.out)
        return
    if whole.table != "wav.scp":
        raise ValueError(f"{data}: features without audio (no wav.scp): there is nothing to pack. See keep_features.")
    share = parts.take(whole, part)
    made = parts.made(share, wanted.samples)
    found = None if force else part.folder.part(part.job, made)
    if found and (repaired := left_out.changed(part.file("rejected.J"))):
        log.warning("%s, which was left out, has other contents now: part %d is made anew", repaired[0], part.job)
        found = None
    if found and found.facts["rejected"] <= tolerance * len(share.keys):
        log.info(
            "part %d of %d is there: %d utterances; nothing to do", part.job, part.num_jobs, found.facts["utterances"]
        )
        return
    _check(share, wanted)
    if len(share.keys) == 0:
        log.warning("part %d of %d is empty: fewer utterances than jobs", part.job, part.num_jobs)
    with part.folder.writing(part.job, made) as writer:
        tally = Tally()
        if len(share.keys) == 0:
            writer.clear()
            utterances, rejected = 0, 0
        elif wanted.copy:
            utterances, rejected, writer.contents[parts.ARK] = _pack(share, writer, wanted, tolerance, tally)
        else:
            counts = in_place.index(share, part, tolerance, tally, writer.begin_replacing)
            utterances, rejected, writer.contents[parts.SCP] = counts
        writer.facts |= {"utterances": utterances, "rejected": rejected, **tally.facts()}


def _check(share: DataDirectory, wanted: Wanted) -> None:
    """What stops the job before any work: commands that are not allowed, a program that is missing."""
    if not wanted.allow_pipes and len(share.keys):
        commands = sound.are_commands(share.values)
        if commands.any():
            row = int(commands.argmax())
            raise ValueError(
                f"{text(share.keys[row])}: {text(share.values[row])!r} in wav.scp is a command; only audio files are"
                " read. --allow-pipes true runs such commands: use it if you trust whoever wrote the table."
            )
    if wanted.copy and len(share.keys):
        decoding.check_programs(share.values)


def _pack(
    share: DataDirectory, part: PartWriter, wanted: Wanted, tolerance: float, tally: Tally
) -> tuple[int, int, str]:
    """Write the ark of a part; how many utterances it has, how many were rejected, and the digest of its contents."""
    rejected: dict[str, str] = {}
    source_digests, are_whole = SourceDigests(), _are_whole(share)

    def usable() -> Iterator[tuple[str, NDArray[np.int16], bytes]]:
        for row, waveform in _decode(share, wanted, rejected, tally):
            contents = audio_archive.bytes_of(waveform)
            stretch = digests.of_stretch(contents)
            source_digests.add(share.values[row], KnownSamples(len(contents), stretch) if are_whole else None)
            yield text(share.keys[row]), waveform, stretch
        # Still inside the temporary file of the ark: raising here leaves no ark behind.
        files = files_of(share.keys, share.values, rejected)
        check_rejected(rejected, len(share.keys), tolerance, part.path(parts.REJECTED), files)
        part.begin_replacing()

    part.path(parts.PLACES).unlink(missing_ok=True)  # of wav files that were indexed in place before
    count, contents = audio_archive.write_pcm_ark(
        usable(), part.path(parts.ARK), part.path(parts.SCP), part.path(parts.SAMPLES)
    )
    source_digests.write(part.path(parts.SOURCES))
    return count, len(rejected), contents


def _are_whole(share: DataDirectory) -> bool:
    """Do the samples of an utterance come out as they stand in its file, where that is 16 kHz mono 16-bit PCM?"""
    return share.cuts is None and share.vad is None and not _are_responses(share)


def _are_responses(share: DataDirectory) -> bool:
    return share.categories is not None and bool((share.categories == RESPONSE).all())


def _decode(
    share: DataDirectory, wanted: Wanted, rejected: dict[str, str], tally: Tally
) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """The row and the samples of every usable utterance; the others go to `rejected` with the reason."""
    began = said = time.monotonic()
    for row, found in decoding.decode(_sources(share, wanted), tally, _uses_of_commands(share)):
        key = text(share.keys[row])
        if not isinstance(found, UnreadableAudio):
            found = _voiced(share, row, found)
        if not isinstance(found, UnreadableAudio):
            found = parts.too_short(share, row, len(found)) or found
        if isinstance(found, UnreadableAudio):
            rejected[key] = str(found)
        else:
            yield row, found
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            log.info("%d of %d utterances, %.0f per second", row + 1, len(share.keys), (row + 1) / (said - began))


def _sources(share: DataDirectory, wanted: Wanted) -> Iterator[Source]:
    """What to decode for each row."""
    are_responses = _are_responses(share)
    for row, value in enumerate(share.values):
        channel = wanted.channel if share.channels is None else int(share.channels[row])
        seconds = None if share.cuts is None else (float(share.cuts.starts[row]), float(share.cuts.ends[row]))
        yield Source(os.fsdecode(value), channel, seconds, are_responses)


def _uses_of_commands(share: DataDirectory) -> dict[str, int]:
    """How many segments are cut from the output of each command."""
    commands = share.values[sound.are_commands(share.values)]
    values, counts = np.unique(commands, return_counts=True)
    return {os.fsdecode(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}


def _voiced(share: DataDirectory, row: int, waveform: NDArray[np.int16]) -> NDArray[np.int16] | UnreadableAudio:
    """The samples that vad.scp calls speech; all where the directory has no vad.scp."""
    if share.vad is None:
        return waveform
    key = text(share.keys[row])
    try:
        return vad.voiced(waveform, vad.read_decisions(share.vad[row]))
    except UnreadableAudio as fault:
        return UnreadableAudio(f"{key}: {fault}")
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
