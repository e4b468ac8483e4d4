"""AAC (ISO/IEC 13818-7 and 14496-3): the frames of an ADTS file, and the channels that an MPEG-4 file describes.

ADTS has no length at all: its frames of 1,024 samples are counted.
"""

import os
from typing import BinaryIO

from sslsv_tk.audio.sound import Header, UnreadableAudio, bytes_at, id3_bytes, is_adts

_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_FRAME_SAMPLES = 1024
_CHANNELS = (2, 1, 2, 3, 4, 5, 6, 8)  # of configuration 0 the frames themselves tell; two are the rule


def read_adts(path: str, stream: BinaryIO) -> Header:
    """The frames of an AAC stream, counted; UnreadableAudio where the last one is cut short or one is no frame."""
    contents = bytes_at(stream, 0, os.fstat(stream.fileno()).st_size)
    place = blocks = 0
    while contents[place : place + 3] == b"ID3":
        place += 10 + id3_bytes(contents[place : place + 10].ljust(10))
    first = place
    while place + 7 <= len(contents) and contents[place : place + 3] != b"TAG":
        length = (contents[place + 3] & 3) << 11 | contents[place + 4] << 3 | contents[place + 5] >> 5
        if not is_adts(contents[place : place + 2]) or length < 7:
            raise UnreadableAudio(f"{path}: damaged: no AAC frame at byte {place}")
        blocks += 1 + (contents[place + 6] & 3)
        place += length
    if place != len(contents) and contents[place : place + 3] != b"TAG":
        raise UnreadableAudio(f"{path}: cut short: its last AAC frame is not whole")
    if blocks == 0:
        raise UnreadableAudio(f"{path}: no samples in it")
    rate = contents[first + 2] >> 2 & 0xF
    if rate >= len(_RATES_HZ):
        raise UnreadableAudio(f"{path}: damaged: its first AAC frame has no sampling rate")
    configuration = (contents[first + 2] & 1) << 2 | contents[first + 3] >> 6
    return Header(_RATES_HZ[rate], _CHANNELS[configuration], blocks * _FRAME_SAMPLES)


def channels(details: bytes) -> int:
    """Channels by the AudioSpecificConfig of an esds atom; 0 where it has none or leaves them to the frames.

    Descriptors are nested: a tag, a length of seven bits a byte, and a body. 3 (stream) holds 4 (decoder), which
    holds 5, whose bits are object type (5), index of the rate (4; 15: 24 bits of rate follow) and channels (4).
    """
    place, skipped = 4, {3: 3, 4: 13}
    while place + 2 <= len(details):
        tag, place = details[place], place + 1
        while details[place] & 0x80:
            place += 1
        place += 1
        if tag == 5:
            bits = int.from_bytes(details[place : place + 5].ljust(5, b"\0"))
            configuration = bits >> (3 if bits >> 31 & 0xF == 0xF else 27) & 0xF
            return _CHANNELS[configuration] if 0 < configuration < len(_CHANNELS) else 0
        if tag not in skipped:
            return 0
        place += skipped[tag]
    return 0
