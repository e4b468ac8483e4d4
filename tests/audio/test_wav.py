"""Headers of wav files of every length, whole and cut short anywhere."""

import io
import struct

import pytest

from sslsv_tk.audio import wav

EXTENSIBLE = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16000, 32000, 2, 16, 22, 16, 4) + wav._PCM_GUID


def of_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(what)) + what + b"\0" * (len(what) % 2) for name, what in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


@pytest.mark.parametrize("samples", [0, 1, 2, 7, 8, 11, 12, 100])
def test_samples_are_found_however_few_there_are(samples):
    found = wav.locate(io.BytesIO(wav.header(samples) + bytes(2 * samples)))
    assert (found.offset, found.announced, found.is_packed_kind) == (44, 2 * samples, True)


@pytest.mark.parametrize("description", [wav.header(0)[20:36], wav.header(0)[20:36] + b"\0\0", EXTENSIBLE])
def test_descriptions_of_any_length_and_chunks_around_them_are_passed_over(description):
    contents = of_chunks((b"LIST", b"odd"), (b"fmt ", description), (b"fact", bytes(4)), (b"data", bytes(6)))
    found = wav.locate(io.BytesIO(contents))
    assert (found.offset, found.announced, found.is_packed_kind) == (len(contents) - 6, 6, True)


@pytest.mark.parametrize("description", [wav.header(0)[20:36], EXTENSIBLE])
def test_a_file_cut_short_anywhere_has_no_samples_or_too_few_and_ends(description):
    contents = of_chunks((b"fmt ", description), (b"data", bytes(10)))
    for size in range(len(contents)):
        stream = io.BytesIO(contents[:size])
        found = wav.locate(stream)
        assert (found is None) == (size < len(contents) - 10)
        stream.seek(0)
        assert wav.fault(stream) == ("" if found is None else wav.cut_short(len(contents) - size))
