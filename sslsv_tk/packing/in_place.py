"""Stage 3 without a copy: where in wav files of 16 kHz mono 16-bit PCM the samples of each utterance stand."""

import os
from array import array
from collections.abc import Callable

import numpy as np

from sslsv_tk import digests
from sslsv_tk.arks.sources import KnownSamples, SourceDigests
from sslsv_tk.audio import headers, sound, wav
from sslsv_tk.audio.sound import UnreadableAudio
from sslsv_tk.audio.tally import OVERSHOT, Tally
from sslsv_tk.audio.wav import Samples
from sslsv_tk.corpora.rejected import check_rejected, files_of
from sslsv_tk.kaldi import tables
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.tables import text
from sslsv_tk.packing.parts import Part, too_short
from sslsv_tk.segments import SAMPLE_RATE_HZ


def index(
    share: DataDirectory, part: Part, tolerance: float, tally: Tally, ready: Callable[[], None]
) -> tuple[int, int, str]:
    """Write wav.J.scp, utt2samples.J and utt2offset.J of a part; `ready` is called before the first of them.

    Returns how many utterances it has, how many were rejected, and the digest of ids and samples, the same as of an
    ark that they are copied into.

    ValueError where audio is of another kind, or where vad.scp leaves samples out: both need a copy.
    """
    if share.vad is not None:
        raise ValueError("vad.scp leaves samples out, which needs a copy of the audio. Use --copy true.")
    rejected: dict[str, str] = {}
    rows, offsets, samples = array("q"), array("q"), array("q")
    path, found, contents = "", None, digests.Contents()
    digests_of_files = SourceDigests()
    for row in range(len(share.keys)):
        try:
            if path != (path := os.fsdecode(share.values[row])) or found is None:
                found = None
                found = locate(path)
            begin, end = _stretch(share, row, path, found)
            if fault := too_short(share, row, end - begin):
                raise fault
            _count(share, row, path, found, tally)
        except UnreadableAudio as fault:
            rejected[text(share.keys[row])] = str(fault)
            continue
        rows.append(row)
        offsets.append(found.offset + 2 * begin)
        samples.append(end - begin)
        known = _samples(path, offsets[-1], samples[-1])
        contents.add(share.keys[row] + b" " + wav.header(samples[-1]), known.stretch)
        digests_of_files.add(share.values[row], known)
    files = files_of(share.keys, share.values, rejected)
    check_rejected(rejected, max(1, len(share.keys)), tolerance, part.file("rejected.J"), files)
    ready()
    if rows:
        usable = np.array(rows)
        tables.write_table(part.file("wav.J.scp"), share.keys[usable], share.values[usable])
        tables.write_table(part.file("utt2offset.J"), share.keys[usable], np.array(offsets))
        tables.write_table(part.file("utt2samples.J"), share.keys[usable], np.array(samples))
    digests_of_files.write(part.file("sources.J"))
    for name in ("wav.J.ark", "wav.J.ark.sums"):
        part.file(name).unlink(missing_ok=True)
    return len(rows), len(rejected), contents.hexdigest()


def _samples(path: str, offset: int, samples: int) -> KnownSamples:
    """The samples of an utterance, which are read for their digest alone."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        return KnownSamples(2 * samples, digests.of_stretch_in(stream, 2 * samples))


def locate(path: str) -> Samples:
    """Where the samples of a wav file stand, with their number of bytes; ValueError where they are of another kind."""
    try:
        with open(path, "rb") as stream:
            found = wav.locate(stream)
            fault = wav.fault_of(found, stream) if found else ""
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise UnreadableAudio(f"{path}: {headers.reason(error)}") from None
    if size == 0:
        raise UnreadableAudio(f"{path}: an empty file")
    if found is None or not found.is_packed_kind:
        raise ValueError(
            f"{path}: without a copy only wav files of 16 kHz mono 16-bit PCM can be used; found"
            f" {found.format if found else 'no wav file'}. Pack this set: --copy true (run.sh: --pack-audio true)."
        )
    announced = size - found.offset if found.announced is None else found.announced
    if fault:
        raise UnreadableAudio(f"{path}: {fault}")
    if announced < 2:
        raise UnreadableAudio(f"{path}: no samples in it")
    return Samples(found.offset, announced, found.format, found.is_packed_kind)


def _count(share: DataDirectory, row: int, path: str, found: Samples, tally: Tally) -> None:
    """What there is to say of an utterance."""
    tally.count(SAMPLE_RATE_HZ, 1, 1)
    if share.cuts is not None:
        seconds = (float(share.cuts.starts[row]), float(share.cuts.ends[row]))
        if sound.overshoots(seconds, SAMPLE_RATE_HZ, (found.announced or 0) // 2):
            tally.note(OVERSHOT, path)


def _stretch(share: DataDirectory, row: int, path: str, found: Samples) -> tuple[int, int]:
    """First and last sample (exclusive) of an utterance in its file."""
    samples = (found.announced or 0) // 2
    if share.channels is not None and share.channels[row] != 1:
        raise ValueError(f"{path}: channel {share.channels[row]} asked for, found 1 channel(s).")
    seconds = None if share.cuts is None else (float(share.cuts.starts[row]), float(share.cuts.ends[row]))
    try:
        return sound.samples_of_cut(seconds, SAMPLE_RATE_HZ, samples)
    except UnreadableAudio as fault:
        raise UnreadableAudio(f"{path}: {fault}") from None
