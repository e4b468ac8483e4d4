"""Is all there that an audio file announces? libsndfile reads a file that was cut as a shorter one, without a word.

Each container says in its own way how many bytes of samples follow; compressed ones are looked at packet by packet
(Ogg, mp3.py) or by decoding (FLAC). A kind of file of which this cannot be told is refused.
"""

import os
import struct
from collections.abc import Callable
from typing import BinaryIO

from sslsv_tk.audio import wav
from sslsv_tk.audio.sound import bytes_at

_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_MOST_OGG_PAGE = 65_307
BY_DECODING = ("FLAC", "MP3")
"""Kinds of files, as libsndfile calls them, whose end decoding or counting frames finds."""
_UNKNOWN_32, _UNKNOWN_64 = 2**32 - 1, 2**64 - 1
Announced = tuple[int, int | None]
"""The byte of the first sample and how many bytes of samples there are (None: the file does not know)."""


def fault(stream: BinaryIO, start: int, alone: bool = True) -> str | None:
    """What is wrong with the length of an open file that begins at byte `start` (see sound.start_of), or "".

    None where its first bytes are not those of a container that tells its length. `alone` is False for an entry of an
    ark, behind which others follow.
    """
    first = bytes_at(stream, start, 16)
    if first[:4] in (b"RIFF", b"RIFX"):
        stream.seek(start)
        return wav.fault(stream, alone)
    if first[:4] == b"OggS":
        return _ogg(stream, start) if alone else ""
    found = next((read for magic, read in _ANNOUNCING.items() if first.startswith(magic)), None)
    if found is None:
        return None
    try:
        where = found(stream, start)
    except (struct.error, ValueError):
        where = None
    if where is None:
        return "damaged or cut short: its header does not say where the samples are"
    offset, announced = where
    missing = 0 if announced is None else offset + announced - _size(stream)
    if missing > 0:
        return wav.cut_short(missing)
    padding = next((most for magic, most in _READ_TO_THE_END.items() if first.startswith(magic)), None)
    if padding is not None and -missing > padding:
        return (
            f"{-missing} bytes follow its samples and would be read as samples: convert it, to FLAC or WAV for example"
        )
    return ""


def _size(stream: BinaryIO) -> int:
    return stream.seek(0, os.SEEK_END)


def _rf64(stream: BinaryIO, start: int) -> Announced | None:
    """RF64 and BW64: sizes of 64 bits are in the chunk ds64, the chunk data has all ones."""
    place, announced = start + 12, None
    while len(head := bytes_at(stream, place, 8)) == 8:
        name, length = struct.unpack("<4sI", head)
        if name == b"ds64":
            announced = int(struct.unpack("<8xQ", bytes_at(stream, place + 8, 16))[0])
        if name == b"data":
            return place + 8, announced if length == _UNKNOWN_32 else length
        place += 8 + length + length % 2
    return None


def _w64(stream: BinaryIO, start: int) -> Announced | None:
    """Sony's Wave64: names of 16 bytes, lengths of 64 bits that count their own head, padded to 8 bytes."""
    place = start + 40
    while len(head := bytes_at(stream, place, 24)) == 24:
        length = int.from_bytes(head[16:], "little")
        if head[:16] == _W64_DATA:
            return place + 24, length - 24
        if length < 24:
            return None
        place += -(-length // 8) * 8
    return None


def _aiff(stream: BinaryIO, start: int) -> Announced | None:
    """AIFF and AIFC: big-endian chunks; SSND begins with an offset and a block size."""
    place = start + 12
    while len(head := bytes_at(stream, place, 8)) == 8:
        name, length = struct.unpack(">4sI", head)
        if name == b"SSND":
            return place + 8, length
        place += 8 + length + length % 2
    return None


def _au(stream: BinaryIO, start: int) -> Announced | None:
    """Sun's AU in either byte order: a head of six numbers."""
    head = bytes_at(stream, start, 12)
    offset, length = struct.unpack("<4x2I" if head[:4] == b"dns." else ">4x2I", head)
    return start + offset, None if length == _UNKNOWN_32 else length


def _caf(stream: BinaryIO, start: int) -> Announced | None:
    """Apple's CAF: lengths of 64 bits; -1 where the file was not closed, and 4 bytes of edits before the samples."""
    place = start + 8
    while len(head := bytes_at(stream, place, 12)) == 12:
        name, length = struct.unpack(">4sQ", head)
        if name == b"data":
            return place + 12, None if length == _UNKNOWN_64 else length
        place += 12 + length
    return None


def _sphere(stream: BinaryIO, start: int) -> Announced | None:
    """NIST's SPHERE: a text of 1,024 bytes or as its second line says; fields are `name type value`."""
    size = int(bytes_at(stream, start + 8, 8))
    fields = {}
    for line in bytes_at(stream, start, size).split(b"\n"):
        words = line.split()
        if len(words) == 3 and words[2].isdigit():  # most write `-i`, libsndfile also writes `-s1`
            fields[words[0]] = int(words[2])
    samples = fields.get(b"sample_count")
    if samples is None:
        return start + size, None
    return start + size, samples * fields.get(b"sample_n_bytes", 2) * fields.get(b"channel_count", 1)


_ANNOUNCING: dict[bytes, Callable[[BinaryIO, int], Announced | None]] = {
    b"RF64": _rf64,
    b"BW64": _rf64,
    _W64_RIFF: _w64,
    b"FORM": _aiff,
    b".snd": _au,
    b"dns.": _au,
    b"caff": _caf,
    b"NIST_1A": _sphere,
}


_READ_TO_THE_END = {_W64_RIFF: 7, b"NIST_1A": 0}
"""Kinds of which libsndfile takes all that follows for samples, and how many bytes may follow them as padding."""


def _ogg(stream: BinaryIO, start: int) -> str:
    """The last page of an Ogg file must be whole, be marked as the last one, and belong to the first stream."""
    size = _size(stream)
    first = bytes_at(stream, start, 18)
    tail_at = max(start, size - _MOST_OGG_PAGE - 1024)  # whatever follows the last page of a whole file is short
    tail = bytes_at(stream, tail_at, size - tail_at)
    place = tail.rfind(b"OggS")
    if place < 0:
        return "cut short: no page of Ogg at its end"
    page = tail[place:]
    if len(page) < 27 or len(page) < 27 + page[26] or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "cut short: its last page is not whole"
    if page[14:18] != first[14:18]:
        return "several streams in one Ogg file, of which only the first would be read: write a file for each"
    return "" if page[5] & 4 else "cut short: its last page is not marked as the end of the stream"
