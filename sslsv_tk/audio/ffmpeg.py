"""Samples of many files by one ffmpeg process each batch, for what libsndfile cannot read.

ffmpeg -i A -i B ...  ->  one pipe for each file, read all at once so that none blocks another:
    pipe of A: AU header (rate, channels), 32-bit floating-point samples of A
    pipe of B: ...
    pipe of standard error: kept for messages
The pipes' reading ends belong to this process alone: when it dies, also by kill -9, ffmpeg cannot write and ends. So
does a file without a name, into which the samples of a long file go instead of memory.
"""

import os
import selectors
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from sslsv_tk.audio.sound import Header, UnreadableAudio

_AU = struct.Struct(">4s5I")  # magic, offset of the samples, bytes (unknown in a pipe), encoding, rate, channels
_AU_FLOAT = 6
_CHUNK_BYTES = 2**18
_MOST_IN_MEMORY = 2**24  # of the samples of one file: four minutes at 16 kHz, the longest of VoxCeleb fit
_MOST_BYTES_OF_MESSAGES = 2**16
_TOLERANCE_SECONDS = 0.05


@dataclass(frozen=True)
class Decoded:
    """Samples (n, channels), full scale at 1, and their rate.

    They are floats of 32 bits in the byte order of ffmpeg's output, in memory or mapped from a temporary file.
    """

    samples: NDArray[np.floating]
    rate_hz: int


class _Output:
    """What comes through a pipe: kept in memory at first, in a temporary file below TMPDIR once it is long."""

    def __init__(self) -> None:
        self._memory, self.count = bytearray(), 0
        self._file: IO[bytes] | None = None

    def write(self, chunk: bytes) -> None:
        """The next bytes; OSError names the folder of temporary files where they do not fit."""
        self.count += len(chunk)
        if self._file is None and self.count <= _MOST_IN_MEMORY:
            self._memory += chunk
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # contents() closes it
                chunk = bytes(self._memory) + chunk
                self._memory = bytearray()
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None

    def contents(self) -> NDArray[np.uint8]:
        """All bytes; those of a file are mapped, and stay there until nobody uses them."""
        if self._file is None:
            return np.frombuffer(self._memory, dtype=np.uint8)
        with self._file:
            return np.memmap(self._file, dtype=np.uint8, mode="r")


def is_installed() -> bool:
    """Is the program there?"""
    return shutil.which("ffmpeg") is not None


def require(path: str) -> str:
    """The program; ValueError that names a file which needs it where it is not installed."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise ValueError(f"{path}: needs the program ffmpeg, which is not installed (Debian: apt-get install ffmpeg).")
    return program


def decode(files: Mapping[str, Header | None]) -> dict[str, Decoded | UnreadableAudio]:
    """The samples of each file, or what is wrong with it; the headers (None: not known) say how much is expected.

    A batch in which ffmpeg fails is halved until the file that made it fail is alone, so that its neighbours are
    decoded whatever it holds.
    """
    if not files:
        return {}
    paths = list(files)
    try:
        status, outputs, messages = _run(paths)
        if len(paths) == 1:
            return {paths[0]: _verdict(paths[0], files[paths[0]], status, outputs[0], messages)}
    except MemoryError:
        status, outputs, messages = 1, [], b""
        if len(paths) == 1:
            return {paths[0]: UnreadableAudio(f"{paths[0]}: too long for the memory of this machine: cut it")}
    if status == 0:
        found = {path: _verdict(path, files[path], 0, output, b"") for path, output in zip(paths, outputs, strict=True)}
        again = [path for path in paths if isinstance(found[path], UnreadableAudio) or (messages and not files[path])]
        return found | {path: verdict for path in again for verdict in decode({path: files[path]}).values()}
    half = len(paths) // 2
    parts = ({path: files[path] for path in part} for part in (paths[:half], paths[half:]))
    return {path: verdict for part in parts for path, verdict in decode(part).items()}


def _command(paths: Sequence[str], pipes: Sequence[int]) -> list[str]:
    inputs = [word for path in paths for word in ("-threads", "1", "-protocol_whitelist", "file", "-i", f"file:{path}")]
    outputs = [
        word
        for number, pipe in enumerate(pipes)
        for word in ("-map", f"{number}:a:0", "-c:a", "pcm_f32be", "-f", "au", f"pipe:{pipe}")
    ]
    return [require(paths[0]), "-nostdin", "-hide_banner", "-v", "error", *inputs, *outputs]


def _run(paths: Sequence[str]) -> tuple[int, list[_Output], bytes]:
    """Exit status, what came through the pipe of each file, and the end of standard error."""
    pipes = [os.pipe() for _ in paths]
    readers = [reader for reader, _ in pipes]
    try:
        try:
            process = subprocess.Popen(
                _command(paths, [writer for _, writer in pipes]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[writer for _, writer in pipes],
            )
        finally:
            for _, writer in pipes:
                os.close(writer)
        with process:
            try:
                assert process.stderr is not None
                *outputs, messages = _read_all([*readers, process.stderr.fileno()])
                return process.wait(), outputs, messages.contents()[-_MOST_BYTES_OF_MESSAGES:].tobytes()
            except BaseException:
                process.kill()
                raise
    finally:
        for reader in readers:
            os.close(reader)


def _read_all(readers: Sequence[int]) -> list[_Output]:
    """What comes through each pipe until all are closed."""
    found = [_Output() for _ in readers]
    with selectors.DefaultSelector() as selector:
        for number, reader in enumerate(readers):
            selector.register(reader, selectors.EVENT_READ, number)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if chunk:
                    found[key.data].write(chunk)
                else:
                    selector.unregister(key.fd)
    return found


def _verdict(
    path: str, header: Header | None, status: int, output: _Output, messages: bytes
) -> Decoded | UnreadableAudio:
    """The samples, unless ffmpeg failed, said something about a file of unknown length, or gave too few."""
    said = _last_message(path, messages)
    if status != 0 or output.count < _AU.size or (messages and header is None):
        return UnreadableAudio(f"{path}: ffmpeg: {said or f'exit status {status}'}")
    contents = output.contents()
    magic, offset, _, encoding, rate_hz, channels = _AU.unpack(contents[: _AU.size].tobytes())
    if magic != b".snd" or encoding != _AU_FLOAT or rate_hz == 0 or channels == 0:
        return UnreadableAudio(f"{path}: ffmpeg: no samples came out")
    count = max(0, len(contents) - offset) // (4 * channels)
    samples = np.frombuffer(contents, dtype=">f4", count=count * channels, offset=offset).reshape(count, channels)
    if header is not None:  # the last packet is decoded whole, also what is after the end of the last edit
        samples = samples[: round(header.seconds * rate_hz)]
    if header is not None and count / rate_hz < header.seconds - _TOLERANCE_SECONDS:
        return UnreadableAudio(
            f"{path}: cut short: {count / rate_hz:.2f} s decoded where its container says {header.seconds:.2f} s"
            + (f" (ffmpeg: {said})" if said else "")
        )
    if count == 0:
        return UnreadableAudio(f"{path}: no samples in it")
    return Decoded(samples, rate_hz)


def _last_message(path: str, messages: bytes) -> str:
    """The last line of ffmpeg's messages, without what it says of memory addresses and of the path."""
    lines = messages.decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return " ".join(last.split("] ")[-1].replace(f"file:{path}: ", "").split())
