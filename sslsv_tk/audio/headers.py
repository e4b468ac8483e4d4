"""Rate, channels and length of audio files without decoding them, and without a process per file."""

import concurrent.futures
import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import BinaryIO, TypeVar

import soundfile

from sslsv_tk.audio import aac, ffmpeg, mp3, mp4, resampling, sound, whole
from sslsv_tk.audio.sound import Header, UnreadableAudio
from sslsv_tk.kaldi.tables import Words, as_words

Found = TypeVar("Found")
_FEW = 512  # files whose headers are read without a pool of processes
_CHUNK = 512  # files of one task of the pool: its paths travel as one array
_TASKS_AHEAD = 4  # for each process, so that neither paths nor headers pile up
_MOST_SAMPLES = 2**48
_BLOCK = 2**20  # samples that are decoded at a time where they are counted


class UnknownFormat(UnreadableAudio):
    """A file that neither the containers nor libsndfile know; ffmpeg may."""


def reason(error: Exception) -> str:
    """An error of the system or of libsndfile in its own words, without the path."""
    words = error.strerror if isinstance(error, OSError) else getattr(error, "error_string", None)
    return " ".join(str(words or error).split())


def read_header(path: str) -> Header:
    """The header of a file; UnreadableAudio where it is damaged, has no samples, or is cut short.

    MPEG-4 and ADTS are known by their first bytes, whatever the name of the file; all others are libsndfile's. The
    length is that of the samples: where a header does not tell it (MP3 without a table, FLAC from a pipe), frames are
    counted or the file is decoded.
    """
    return inspect(path)[0]


def inspect(path: str) -> tuple[Header, bool]:
    """The header of a file, and whether its samples are for ffmpeg to decode."""
    return _with_file(path, lambda stream: _read(path, stream, path))


def inspect_output(command: str, path: str) -> Header:
    """The header of a file with the output of a command, by which it is called in messages."""
    header, is_for_ffmpeg = _with_file(path, lambda stream: _read(command, stream, path), command)
    if is_for_ffmpeg:
        raise UnreadableAudio(f"{command}: its output needs ffmpeg; let it write wav")
    return header


def _with_file(path: str, work: Callable[[BinaryIO], Found], name: str = "") -> Found:
    """What `work` makes of the open file; UnreadableAudio where it cannot be opened or is empty."""
    try:
        with sound.open_file(path) as stream:
            if os.fstat(stream.fileno()).st_size == 0:
                raise UnreadableAudio(f"{name or path}: an empty file")
            return work(stream)
    except OSError as error:
        raise UnreadableAudio(f"{name or path}: {reason(error)}") from None


def _read(name: str, stream: BinaryIO, path: str) -> tuple[Header, bool]:
    kind = sound.kind_of_file(stream)
    if kind != "other":
        return checked(name, (mp4.read_mp4 if kind == "mp4" else aac.read_adts)(name, stream)), True
    start, alone = sound.start_of(stream), sound.ark_entry(path) is None
    fault = whole.fault(stream, start, alone)
    if fault:
        raise UnreadableAudio(f"{name}: {fault}")
    with opened(name, path) as file:
        if file.format == "MP3":
            return _read_mp3(name, mp3.read_frames(stream, start) if alone else None, file)
        if fault is None and file.format not in whole.BY_DECODING:
            raise UnreadableAudio(f"{name}: a {file.format} file, of which nothing tells that it is whole: convert it")
        samples = file.frames if knows_length(file) else _count(name, file)
        return checked(name, Header(file.samplerate, file.channels, samples)), False


def _read_mp3(name: str, found: mp3.Frames | None, file: soundfile.SoundFile) -> tuple[Header, bool]:
    """Frames that were counted are for ffmpeg: libsndfile stops at its own estimate."""
    if found is None:
        raise UnreadableAudio(f"{name}: an MP3 whose frames cannot be counted: convert it")
    if found.fault:
        raise UnreadableAudio(f"{name}: {found.fault}")
    if found.has_table:
        return checked(name, Header(file.samplerate, file.channels, file.frames)), False
    if not ffmpeg.is_installed():
        raise UnreadableAudio(f"{name}: an MP3 without a table of its length needs the program ffmpeg")
    return checked(name, Header(found.rate_hz, found.channels, found.samples)), True


def knows_length(file: soundfile.SoundFile) -> bool:
    """Does the header say how many samples there are? That of FLAC written to a pipe does not."""
    return bool(file.frames <= _MOST_SAMPLES)


def _count(name: str, file: soundfile.SoundFile) -> int:
    """The samples of a file, by decoding it."""
    samples = 0
    try:
        while found := len(file.read(_BLOCK, dtype="int16", always_2d=True)):
            samples += found
    except soundfile.SoundFileError as error:
        raise UnreadableAudio(f"{name}: {reason(error)}") from None
    return samples


class _File(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from front to back where it does not know its length: there libsndfile cannot seek."""

    def seekable(self) -> bool:
        return bool(super().seekable()) and knows_length(self)


@contextlib.contextmanager
def opened(name: str, source: str | BinaryIO) -> Iterator[soundfile.SoundFile]:
    """A file, an entry of an ark, or bytes, called `name` in messages, as libsndfile opens it; else UnknownFormat."""
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(source, str) and sound.ark_entry(source):
                source = stack.enter_context(sound.open_file(source))
            file = _File(os.fsencode(source) if isinstance(source, str) else source)
        except (OSError, soundfile.SoundFileError) as error:
            raise UnknownFormat(f"{name}: {reason(error)}") from None
        yield stack.enter_context(file)


def checked(path: str, header: Header) -> Header:
    """`header`, or UnreadableAudio where it cannot be of audio."""
    if header.samples <= 0 or header.samples > _MOST_SAMPLES:
        raise UnreadableAudio(f"{path}: no samples in it")
    if not resampling.is_known_rate(header.rate_hz) or header.channels < 1:
        raise UnreadableAudio(
            f"{path}: damaged: {header.channels} channel(s) at {header.rate_hz} Hz; expected at least one channel at a"
            " rate of audio, 1,000 to 768,000 Hz"
        )
    return header


def read_headers(paths: Words | Sequence[str]) -> Iterator[Header | UnreadableAudio]:
    """The header of each path in order, or what is wrong with it; many files are read by a pool of processes."""
    words = as_words(paths)
    chunks = (words[begin : begin + _CHUNK] for begin in range(0, len(words), _CHUNK))
    if len(words) <= _FEW:
        yield from itertools.chain.from_iterable(map(_headers_or_faults, chunks))
        return
    processes = len(os.sched_getaffinity(0))
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        tasks: deque[Future[list[Header | UnreadableAudio]]] = deque()
        for chunk in chunks:
            tasks.append(pool.submit(_headers_or_faults, chunk))
            if len(tasks) >= processes * _TASKS_AHEAD:
                yield from tasks.popleft().result()
        while tasks:
            yield from tasks.popleft().result()


def _headers_or_faults(paths: Words) -> list[Header | UnreadableAudio]:
    return [_header_or_fault(os.fsdecode(path)) for path in paths.tolist()]


def _header_or_fault(path: str) -> Header | UnreadableAudio:
    try:
        return read_header(path)
    except UnreadableAudio as fault:
        return fault
