"""Length, rate and channels of MPEG-4 files (m4a, mp4, mov) from their container.

An MPEG-4 file (ISO/IEC 14496-12) is a tree of atoms, each a length, a name and a body:

    ftyp, mdat (the packets), moov (before or after mdat)
                              +- mvhd                the clock of the edits
                              +- trak (one per stream)
                                 +- edts/elst        which stretch is presented: leaves out the encoder's delay
                                 +- mdia/mdhd, hdlr  length on the stream's clock; is it sound?
                                 +- mdia/minf/stbl/stsd    codec, channels, rate
                              +- mvex, moof, moof    a fragmented file has its lengths in moof/traf/trun
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sslsv_tk.audio import aac
from sslsv_tk.audio.sound import Header, UnreadableAudio, bytes_at

_MOST_BYTES_OF_TABLES = 2**28


@dataclass(frozen=True)
class _Track:
    """The sound of an MPEG-4 file; lengths in ticks of its clock, the first edit in ticks of the movie's."""

    number: int
    ticks_per_second: int
    ticks: int
    rate_hz: int
    channels: int
    edit_movie_ticks: int
    edit_start: int


def read_mp4(path: str, stream: BinaryIO) -> Header:
    """The first sound track of an MPEG-4 file; its length is what a player presents, without the encoder's delay."""
    try:
        tables = list(_tables(path, stream))
        movie = next((body for name, body in tables if name == b"moov"), None)
        if movie is None:
            raise UnreadableAudio(f"{path}: cut short or damaged: no moov atom, which says what is in the file")
        track = _sound_track(path, movie)
        ticks = track.ticks or sum(_fragment_ticks(body, track, movie) for name, body in tables if name == b"moof")
        samples = round(_presented(ticks, track, movie) * track.rate_hz)
    except (struct.error, IndexError, StopIteration):
        raise UnreadableAudio(f"{path}: damaged: an atom of the container is not as it should be") from None
    if samples <= 0:
        raise UnreadableAudio(f"{path}: no samples in it")
    return Header(track.rate_hz, track.channels, samples)


def _tables(path: str, stream: BinaryIO) -> Iterator[tuple[bytes, memoryview]]:
    """The atoms on top that hold tables (moov, moof) with their bodies; UnreadableAudio where one is cut short."""
    place, end = 0, os.fstat(stream.fileno()).st_size
    while place + 8 <= end:
        start = bytes_at(stream, place, 16)
        length, name = struct.unpack_from(">I4s", start)
        header = 16 if length == 1 else 8
        length = struct.unpack_from(">Q", start, 8)[0] if length == 1 else length or end - place
        if length < header:
            raise UnreadableAudio(f"{path}: damaged: an atom of {length} bytes at byte {place}")
        if place + length > end:
            missing = place + length - end
            raise UnreadableAudio(f"{path}: cut short: {missing} bytes that its container announces are missing")
        if name in (b"moov", b"moof"):
            if length > _MOST_BYTES_OF_TABLES:
                raise UnreadableAudio(f"{path}: damaged: tables of {length} bytes")
            yield name, memoryview(bytes_at(stream, place + header, length - header))
        place += length


def _atoms(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Names and bodies of the atoms within one; what does not fit into it is an IndexError."""
    place = 0
    while place + 8 <= len(body):
        length, name = struct.unpack_from(">I4s", body, place)
        header = 16 if length == 1 else 8
        length = struct.unpack_from(">Q", body, place + 8)[0] if length == 1 else length or len(body) - place
        if length < header or place + length > len(body):
            raise IndexError("an atom is longer than the one it is in")
        yield name, body[place + header : place + length]
        place += length


def _inside(body: memoryview, *names: bytes) -> memoryview | None:
    """The first atom at a path of names below `body`; None where there is none."""
    for name in names:
        found = next((inner for other, inner in _atoms(body) if other == name), None)
        if found is None:
            return None
        body = found
    return body


def _required(body: memoryview, *names: bytes) -> memoryview:
    found = _inside(body, *names)
    if found is None:
        raise IndexError(f"no {names[-1]!r}")
    return found


def _sound_track(path: str, movie: memoryview) -> _Track:
    for name, track in _atoms(movie):
        if name == b"trak" and bytes(_required(track, b"mdia", b"hdlr")[8:12]) == b"soun":
            return _read_track(track)
    raise UnreadableAudio(f"{path}: no sound track in it")


def _read_track(track: memoryview) -> _Track:
    ticks_per_second, ticks = _clock(_required(track, b"mdia", b"mdhd"))
    header = _required(track, b"tkhd")
    number = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]
    channels, rate_hz = _format(_required(track, b"mdia", b"minf", b"stbl", b"stsd"))
    rate_hz = rate_hz or ticks_per_second
    edits = _inside(track, b"edts", b"elst")
    edit_ticks, edit_start = (0, 0) if edits is None else _edit(edits)
    if rate_hz == 0 or ticks_per_second == 0:
        raise IndexError("a clock that stands still")
    return _Track(number, ticks_per_second, ticks, rate_hz, max(1, channels), edit_ticks, edit_start)


def _format(descriptions: memoryview) -> tuple[int, int]:
    """Channels and rate of the first sample description; many writers put 2 channels there, so AAC's own count wins.

    stsd: version and count (8); of the entry length, codec and references (16), version (8), channels, bits, rate
    in 16.16 bits (0 where 88.2 kHz do not fit), then, also after the 16 bytes of QuickTime's version 1, atoms.
    """
    version, channels, rate = struct.unpack_from(">H6xH6xI", descriptions, 24)
    details = _inside(descriptions[60 if version == 1 else 44 :], b"esds")
    return (aac.channels(bytes(details)) if details is not None else 0) or channels, rate >> 16


def _clock(header: memoryview) -> tuple[int, int]:
    """Ticks per second and length in ticks of mvhd or mdhd; all ones stand for an unknown length."""
    if header[0] == 1:
        rate, ticks = struct.unpack_from(">IQ", header, 20)
        return rate, 0 if ticks == 2**64 - 1 else ticks
    rate, ticks = struct.unpack_from(">II", header, 12)
    return rate, 0 if ticks == 2**32 - 1 else ticks


def _edit(edits: memoryview) -> tuple[int, int]:
    """Presented length (movie ticks; 0: to the end) and first tick of the track; empty edits present nothing."""
    entry = struct.Struct(">QqI" if edits[0] == 1 else ">IiI")
    count = struct.unpack_from(">I", edits, 4)[0]
    body = edits[8 : 8 + count * entry.size]
    found = [(ticks, start) for ticks, start, _ in entry.iter_unpack(body) if start >= 0]
    return (sum(ticks for ticks, _ in found), found[0][1]) if found else (0, 0)


def _presented(ticks: int, track: _Track, movie: memoryview) -> float:
    """Seconds from the first edit's start to its end or to that of the track, whichever comes first."""
    whole = (ticks - track.edit_start) / track.ticks_per_second
    movie_ticks_per_second, _ = _clock(_required(movie, b"mvhd"))
    if track.edit_movie_ticks == 0 or movie_ticks_per_second == 0:
        return whole
    return min(whole, track.edit_movie_ticks / movie_ticks_per_second)


def _fragment_ticks(fragment: memoryview, track: _Track, movie: memoryview) -> int:
    """Length of the track's part of one moof, in its ticks."""
    total = 0
    for name, body in _atoms(fragment):
        if name != b"traf":
            continue
        header = _required(body, b"tfhd")
        flags, number = struct.unpack_from(">II", header)
        if number != track.number:
            continue
        place = 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)
        usual = struct.unpack_from(">I", header, place)[0] if flags & 0x8 else _usual_ticks(movie, number)
        total += sum(_run_ticks(run, usual) for other, run in _atoms(body) if other == b"trun")
    return total


def _usual_ticks(movie: memoryview, number: int) -> int:
    """Length of a packet where its fragment does not say (mvex/trex)."""
    for name, body in _atoms(_required(movie, b"mvex")):
        if name == b"trex" and struct.unpack_from(">I", body, 4)[0] == number:
            return int(struct.unpack_from(">I", body, 12)[0])
    raise IndexError("no trex")


def _run_ticks(run: memoryview, usual: int) -> int:
    flags, count = struct.unpack_from(">II", run)
    if not flags & 0x100:
        return int(count * usual)
    place = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
    step = 4 * (flags >> 8 & 0xF).bit_count()
    if place + count * step > len(run):
        raise IndexError("a run of packets is longer than its atom")
    return sum(struct.unpack_from(">I", run, place + packet * step)[0] for packet in range(count))
