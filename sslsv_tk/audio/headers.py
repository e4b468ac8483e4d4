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

from sslsv_tk.audio import aac, mp4, sound, wav
from sslsv_tk.audio.sound import Header, UnreadableAudio
from sslsv_tk.kaldi.tables import Words, as_words

Found = TypeVar("Found")
_FEW = 512  # files whose headers are read without a pool of processes
_CHUNK = 512  # files of one task of the pool: its paths travel as one array
_TASKS_AHEAD = 4  # for each process, so that neither paths nor headers pile up
_MOST_SAMPLES = 2**48
_LEAST_RATE_HZ, _MOST_RATE_HZ = 1_000, 768_000


class UnknownFormat(UnreadableAudio):
    """A file that neither the containers nor libsndfile know; ffmpeg may."""


def reason(error: Exception) -> str:
    """An error of the system or of libsndfile in its own words, without the path."""
    words = error.strerror if isinstance(error, OSError) else getattr(error, "error_string", None)
    return " ".join(str(words or error).split())


def read_header(path: str) -> Header:
    """The header of a file; UnreadableAudio where it is damaged, has no samples, or announces more than there is.

    MPEG-4 and ADTS are known by their first bytes, whatever the name of the file; all others are libsndfile's.
    """
    return inspect(path)[0]


def inspect(path: str) -> tuple[Header, bool]:
    """The header of a file, and whether it is of a container whose samples ffmpeg decodes."""
    return _with_file(path, lambda stream: _read(path, stream))


def _with_file(path: str, work: Callable[[BinaryIO], Found]) -> Found:
    """What `work` makes of the open file; UnreadableAudio where it cannot be opened or is empty."""
    try:
        with sound.open_file(path) as stream:
            if os.fstat(stream.fileno()).st_size == 0:
                raise UnreadableAudio(f"{path}: an empty file")
            return work(stream)
    except OSError as error:
        raise UnreadableAudio(f"{path}: {reason(error)}") from None


def _read(path: str, stream: BinaryIO) -> tuple[Header, bool]:
    kind = sound.kind_of_file(stream)
    if kind != "other":
        return checked(path, (mp4.read_mp4 if kind == "mp4" else aac.read_adts)(path, stream)), True
    with opened(path, path) as file:
        found = checked(path, Header(file.samplerate, file.channels, file.frames))
    stream.seek(0)
    missing = wav.missing_bytes(stream)
    if missing:
        raise UnreadableAudio(
            f"{path}: cut short: {missing} bytes of the samples that its header announces are missing"
        )
    return found, False


@contextlib.contextmanager
def opened(name: str, source: str | BinaryIO) -> Iterator[soundfile.SoundFile]:
    """A file, an entry of an ark, or bytes, called `name` in messages, as libsndfile opens it; else UnknownFormat."""
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(source, str) and sound.ark_entry(source):
                source = stack.enter_context(sound.open_file(source))
            file = soundfile.SoundFile(os.fsencode(source) if isinstance(source, str) else source)
        except (OSError, soundfile.SoundFileError) as error:
            raise UnknownFormat(f"{name}: {reason(error)}") from None
        yield stack.enter_context(file)


def checked(path: str, header: Header) -> Header:
    """`header`, or UnreadableAudio where it cannot be of audio."""
    if header.samples <= 0 or header.samples > _MOST_SAMPLES:
        raise UnreadableAudio(f"{path}: no samples in it")
    if not _LEAST_RATE_HZ <= header.rate_hz <= _MOST_RATE_HZ or header.channels < 1:
        raise UnreadableAudio(
            f"{path}: damaged: {header.channels} channel(s) at {header.rate_hz} Hz; expected at least one channel at"
            f" {_LEAST_RATE_HZ} to {_MOST_RATE_HZ} Hz"
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
