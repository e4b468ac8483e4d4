"""The baseline without training: its cepstra against a slow version, its inputs, its score file and its faults."""

import struct
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sslsv_tk import logs

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "egs" / "voxceleb" / "local"))

import mfcc_baseline

RATE = 16000


def tone(hertz: Sequence[float], seconds: float = 0.3, seed: int = 0) -> np.ndarray:
    """Three sines and a little noise: recordings of one pitch set are alike."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(time.size)
    return 0.1 * sum(np.sin(2 * np.pi * f * time) for f in hertz) + 0.002 * noise


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setparams((channels, 2, rate, 0, "NONE", ""))
        stream.writeframes(np.round(samples * 32767).astype("<i2").tobytes())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two speakers with two utterances each, and a list."""
    folder = tmp_path / "data"
    lines = []
    for speaker, hertz in (("a", (200, 900, 2500)), ("b", (300, 1400, 4000))):
        for number in (1, 2):
            path = tmp_path / "wav" / speaker / f"rec{number}" / "00001.wav"
            write_wav(path, tone(hertz, 0.3 + 0.1 * number, seed=number))
            lines.append(f"{speaker}-rec{number}-00001 {path}\n")
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(lines))
    (folder / "trials").write_text(
        "a-rec1-00001 a-rec2-00001 target\nb-rec1-00001 a-rec1-00001 nontarget\n"
        "b-rec2-00001 b-rec1-00001 target\na-rec2-00001 b-rec2-00001 nontarget\n"
    )
    return folder


def run(data: Path, trials: Path | None = None) -> int:
    out = data.parent / "mfcc.score"
    return logs.run_command(
        mfcc_baseline.main, ["--data", str(data), "--trials", str(trials or data / "trials"), "--out", str(out)]
    )


def slow_statistics(samples: np.ndarray) -> np.ndarray:
    """Mean and deviation of MFCCs with loops, straight from the definitions."""
    frames = []
    for start in range(0, samples.size - 400 + 1, 160):
        piece = samples[start : start + 400] * (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399))
        kernel = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
        power = np.abs(kernel @ piece) ** 2
        edges = [700 * (10 ** (k * 2595 * np.log10(1 + 8000 / 700) / 41 / 2595) - 1) for k in range(42)]
        bands = np.zeros(40)
        for band in range(40):
            low, middle, high = edges[band : band + 3]
            for bin_, value in enumerate(power):
                hertz = bin_ * RATE / 512
                if low < hertz <= middle:
                    bands[band] += value * (hertz - low) / (middle - low)
                elif middle < hertz < high:
                    bands[band] += value * (high - hertz) / (high - middle)
        logs_ = np.log(bands + 1e-6)
        scale = [np.sqrt((1 if k == 0 else 2) / 40) for k in range(20)]
        frames.append(
            [scale[k] * sum(logs_[n] * np.cos(np.pi * k * (2 * n + 1) / 80) for n in range(40)) for k in range(20)]
        )
    return np.concatenate([np.mean(frames, axis=0), np.std(frames, axis=0)])


def test_statistics_are_those_of_the_definitions() -> None:
    samples = tone((250, 1100, 3100), 0.08)
    assert np.allclose(mfcc_baseline.mfcc_statistics(samples, "x"), slow_statistics(samples), atol=1e-8)


def test_blocks_of_frames_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = tone((250, 1100, 3100), 0.5)
    whole = mfcc_baseline.mfcc_statistics(samples, "x")
    monkeypatch.setattr(mfcc_baseline, "_FRAMES_AT_ONCE", 7)
    assert np.allclose(mfcc_baseline.mfcc_statistics(samples, "x"), whole, atol=1e-12)


def test_one_window_is_enough_and_less_is_named() -> None:
    assert np.allclose(mfcc_baseline.mfcc_statistics(tone((300,), 0.025), "x")[20:], 0)
    with pytest.raises(ValueError, match="x: 399 samples"):
        mfcc_baseline.mfcc_statistics(np.ones(399), "x")


def test_standardising_leaves_mean_zero_and_deviation_one_and_survives_a_constant_column() -> None:
    table = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    result = mfcc_baseline.standardised(table)
    assert np.allclose(result.mean(axis=0), 0) and np.allclose(result[:, 0].std(), 1) and (result[:, 1] == 0).all()


def test_scores_are_cosines_of_standardised_statistics_in_the_order_of_the_list(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert run(data) == 0
    assert "4 trials, 4 utterances, EER 0.00 %" in caplog.text
    table = {}
    for line in (data / "wav.scp").read_text().splitlines():
        key, path = line.split()
        with wave.open(path) as stream:
            samples = np.frombuffer(stream.readframes(stream.getnframes()), dtype="<i2") / 32768
        table[key] = mfcc_baseline.mfcc_statistics(samples, key)
    matrix = np.array([table[key] for key in sorted(table)])
    table = dict(zip(sorted(table), (matrix - matrix.mean(axis=0)) / matrix.std(axis=0), strict=True))
    lines = [line.split() for line in (data.parent / "mfcc.score").read_text().splitlines()]
    expected = [line.split()[:2] for line in (data / "trials").read_text().splitlines()]
    assert [line[:2] for line in lines] == expected
    for enrol, test, score in lines:
        a, b = table[enrol], table[test]
        assert float(score) == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)), abs=2e-6)


def test_the_official_list_form_gives_the_same_scores(data: Path) -> None:
    assert run(data) == 0
    expected = (data.parent / "mfcc.score").read_bytes()
    official = data.parent / "veri_test.txt"
    official.write_text(
        "1 a/rec1/00001.wav a/rec2/00001.wav\n0 b/rec1/00001.wav a/rec1/00001.wav\n"
        "1 b/rec2/00001.wav b/rec1/00001.wav\n0 a/rec2/00001.wav b/rec2/00001.wav\n"
    )
    assert run(data, official) == 0
    assert (data.parent / "mfcc.score").read_bytes() == expected


def test_packed_audio_gives_the_same_scores(data: Path) -> None:
    assert run(data) == 0
    expected = (data.parent / "mfcc.score").read_bytes()
    packed = data.parent / "packed"
    packed.mkdir()
    ark, scp, lengths = bytearray(), [], []
    for line in (data / "wav.scp").read_text().splitlines():
        key, path = line.split()
        with wave.open(path) as stream:
            samples = stream.readframes(stream.getnframes())
        ark += key.encode() + b" "
        scp.append(f"{key} {packed}/wav.ark:{len(ark)}\n")
        lengths.append(f"{key} {len(samples) // 2}\n")
        header = struct.pack(
            "<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, RATE, 32000, 2, 16
        )
        ark += header + struct.pack("<4sI", b"data", len(samples)) + samples
    (packed / "wav.ark").write_bytes(ark)
    (packed / "wav.scp").write_text("".join(scp))
    (packed / "utt2samples").write_text("".join(lengths))
    assert run(packed, data / "trials") == 0
    assert (data.parent / "mfcc.score").read_bytes() == expected


def test_utterances_cut_from_a_longer_file_are_read_from_their_place(data: Path) -> None:
    assert run(data) == 0
    expected = (data.parent / "mfcc.score").read_bytes()
    pieces, segments, place = [np.zeros(1600)], [], 1600
    for line in (data / "wav.scp").read_text().splitlines():
        key, path = line.split()
        with wave.open(path) as stream:
            samples = np.frombuffer(stream.readframes(stream.getnframes()), dtype="<i2") / 32767
        segments.append(f"{key} long {place / RATE} {(place + samples.size) / RATE}\n")
        pieces.append(samples)
        place += samples.size
    cut = data.parent / "cut"
    cut.mkdir()
    write_wav(cut / "long.wav", np.concatenate(pieces))
    (cut / "wav.scp").write_text(f"long {cut}/long.wav\n")
    for last in (segments[-1], segments[-1].rpartition(" ")[0] + " -1\n"):  # -1: to the end of the file
        (cut / "segments").write_text("".join([*segments[:-1], last]))
        assert run(cut, data / "trials") == 0
        assert (data.parent / "mfcc.score").read_bytes() == expected


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("rate", "expected one channel of 16000 Hz, found 1 of 8000 Hz"),
        ("stereo", "found 2 of 16000 Hz"),
        ("short", "a-rec1-00001: 10 samples"),
        ("text", "a-rec1-00001): cannot be read"),
        ("missing", "a-rec1-00001): cannot be read"),
    ],
)
def test_an_unusable_file_is_named(fault: str, message: str, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = data.parent / "wav" / "a" / "rec1" / "00001.wav"
    if fault == "rate":
        write_wav(path, tone((200,)), rate=8000)
    elif fault == "stereo":
        write_wav(path, tone((200,)), channels=2)
    elif fault == "short":
        write_wav(path, np.ones(10) * 0.1)
    elif fault == "text":
        path.write_text("not audio")
    else:
        path.unlink()
    assert run(data) == 1
    assert message in caplog.text
    assert not (data.parent / "mfcc.score").exists()


def test_samples_that_are_not_numbers_are_named(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = data.parent / "wav" / "a" / "rec1" / "00001.wav"
    samples = np.full(1600, np.nan, dtype="<f4").tobytes()
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 3, 1, RATE, 64000, 4, 32)
    path.write_bytes(header + struct.pack("<4sI", b"data", len(samples)) + samples)
    assert run(data) == 1
    assert "a-rec1-00001: samples that are not finite" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a-rec1-00001 a-rec2-00001 target\n", "all 1 trials are target"),
        ("a-rec1-00001 c-rec2-00001 target\n", "c-rec2-00001"),
        ("", "trials"),
    ],
)
def test_an_unusable_list_is_named(lines: str, message: str, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "trials").write_text(lines)
    assert run(data) == 1
    assert message in caplog.text
    assert not (data.parent / "mfcc.score").exists()
