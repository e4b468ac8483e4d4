"""Speech decisions: read as kaldiio writes them, applied as one frame after the other would be."""

import struct

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsv_tk.audio import vad
from sslsv_tk.audio.sound import UnreadableAudio


@pytest.mark.parametrize("compressed", [False, True])
def test_decisions_of_an_ark_and_of_a_file(tmp_path, compressed):
    wanted = {"a": np.array([1, 0, 1, 1], dtype=np.float32), "b": np.zeros(3, dtype=np.float32)}
    ark, scp = str(tmp_path / "vad.ark"), str(tmp_path / "vad.scp")
    with kaldiio.WriteHelper(f"ark,scp:{ark},{scp}") as writer:
        for key, decisions in wanted.items():
            writer(key, decisions)
    for line in (tmp_path / "vad.scp").read_text().splitlines():
        key, value = line.split()
        assert vad.read_decisions(value.encode()).tolist() == wanted[key].astype(bool).tolist()


def test_decisions_written_by_hand_as_kaldi_does(tmp_path):
    (tmp_path / "v.ark").write_bytes(b"utt \0BFV \4" + struct.pack("<i3f", 3, 0, 1, 1))
    assert vad.read_decisions(f"{tmp_path}/v.ark:4".encode()).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "cannot be read"),
        (b"\0BFV \4" + struct.pack("<i", 9), "expected a vector of 0 and 1, found float32 of shape"),
        (b"\0BFV \4" + struct.pack("<i2f", 2, 0.5, 1), "expected a vector of 0 and 1"),
        (b"\0BFM \4" + struct.pack("<ibi2f", 1, 4, 2, 0, 1), "expected a vector of 0 and 1|cannot be read"),
        (b"\0BFV \4" + struct.pack("<i", -5), "cannot be read|expected"),
        (b"nonsense", "cannot be read|expected"),
    ],
)
def test_what_is_no_decisions_is_one_line(tmp_path, contents, message):
    (tmp_path / "v.ark").write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        vad.read_decisions(f"{tmp_path}/v.ark:0".encode())


def test_a_missing_file_and_a_command(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.ark:0: speech decisions that cannot be read \(FileNotFoundError"):
        vad.read_decisions(f"{tmp_path}/gone.ark:0".encode())
    with pytest.raises(ValueError, match="is a command; only files are read"):
        vad.read_decisions(f"touch {tmp_path}/ran |".encode())
    assert not (tmp_path / "ran").exists()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_decisions_or_one_line(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("vad") / "v"
    path.write_bytes(contents)
    try:
        assert vad.read_decisions(str(path).encode()).dtype == np.bool_
    except (ValueError, OSError) as error:
        assert str(error)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(-480, 480))
def test_samples_are_kept_frame_by_frame(decisions, difference):
    samples = max(0, 160 * len(decisions) + difference)
    waveform = (1 + np.arange(samples)).astype(np.int16)
    kept = [sample for frame, speech in enumerate(decisions) if speech for sample in waveform[160 * frame :][:160]]
    if not kept:
        with pytest.raises(UnreadableAudio, match=f"none of {len(decisions)} frames"):
            vad.voiced(waveform, np.array(decisions))
    else:
        assert vad.voiced(waveform, np.array(decisions)).tolist() == kept


@pytest.mark.parametrize("samples", [160 * 14, 160 * 6, 160 * 13 + 1, 160 * 7 - 1])
def test_decisions_of_other_audio_name_both_lengths(samples):
    with pytest.raises(ValueError, match=rf"10 speech decisions for audio of {samples / 160:.1f} frames .*{samples} s"):
        vad.voiced(np.ones(samples, dtype=np.int16), np.ones(10, dtype=np.bool_))


class Runs:
    """Pickled as the command that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_in_an_ark_is_ever_run(tmp_path):
    kaldiio.save_ark(str(tmp_path / "v.ark"), {"a": Runs(tmp_path / "run")}, write_function="pickle")
    with pytest.raises(ValueError, match="no Kaldi vector begins there but b'PK'"):
        vad.read_decisions(f"{tmp_path}/v.ark:2".encode())
    assert not (tmp_path / "run").exists()


def test_the_standard_input_is_not_read():
    with pytest.raises(ValueError, match="-: speech decisions that cannot be read"):
        vad.read_decisions(b"-")


def test_decisions_written_as_text(tmp_path):
    (tmp_path / "v.ark").write_bytes(b"utt  [ 0 1 1 ]\n")
    assert vad.read_decisions(f"{tmp_path}/v.ark:4".encode()).tolist() == [False, True, True]
