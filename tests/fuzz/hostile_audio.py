"""Hostile audio files: packed by stages 1 and 3, and compared with what ffmpeg decodes."""

import random
import subprocess
from pathlib import Path

import kaldiio
import numpy as np
import soundfile
from commands import RIGHT, WRONG, call, package
from numpy.typing import NDArray
from scipy.signal import resample_poly

RATES = (8000, 16000, 22050, 32000, 44100, 48000)
KINDS = {
    "wav": (
        "WAV",
        ("PCM_16", "PCM_24", "PCM_U8", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM"),
    ),
    "rf64": ("RF64", ("PCM_16", "PCM_24", "FLOAT")),
    "w64": ("W64", ("PCM_16", "PCM_24", "FLOAT")),
    "flac": ("FLAC", ("PCM_16", "PCM_24")),
    "ogg": ("OGG", ("VORBIS",)),
    "opus": ("OGG", ("OPUS",)),
    "mp3": ("MP3", ("MPEG_LAYER_III",)),
    "sph": ("NIST", ("PCM_16", "ULAW", "ALAW")),
    "aiff": ("AIFF", ("PCM_16", "PCM_24", "FLOAT")),
    "au": ("AU", ("PCM_16", "FLOAT", "ULAW")),
    "caf": ("CAF", ("PCM_16", "FLOAT")),
}
ENDINGS = {"rf64": "wav"}
LOSSY = {"ogg", "opus", "mp3"}
SLACK = {"mp3": 3000, "opus": 700, "ogg": 64}
"""Samples at 16 kHz by which a coder may lengthen a file."""


def voice(seconds: float, rate: int, chance: random.Random) -> NDArray[np.float64]:
    """Harmonics with a slow loudness, below 3 kHz, so that every rate holds them."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = chance.uniform(90, 250)
    wave = sum(np.sin(2 * np.pi * pitch * k * time + k * k) / k for k in range(1, int(3000 / pitch)))
    return np.asarray(0.2 * wave * (0.6 + 0.4 * np.sin(5 * time + chance.uniform(0, 6))))


def case(folder: Path, chance: random.Random) -> tuple[str, str, str]:
    """A data directory of two good files and a hostile one."""
    kind = chance.choice(sorted(KINDS))
    container, coding = KINDS[kind][0], chance.choice(KINDS[kind][1])
    rate = chance.choice([8000, 16000, 48000] if kind == "opus" else RATES)
    channels = chance.choice([1, 1, 2])
    wave = voice(chance.uniform(1.5, 4.0), rate, chance)
    path = folder / f"audio/hostile.{ENDINGS.get(kind, kind)}"
    path.parent.mkdir(parents=True)
    data = np.stack([wave] * channels, axis=1)
    try:
        soundfile.write(path, data, rate, format=container, subtype=coding)
    except (soundfile.LibsndfileError, ValueError):
        return f"{kind} {coding}: cannot be written here", RIGHT, ""
    for number in range(2):
        soundfile.write(path.with_name(f"good{number}.wav"), voice(2.0, 16000, chance), 16000)
    damage, whole = damaged(path, chance)
    what = f"{kind} {coding} {rate} Hz, {channels} channels, {damage}"
    data_folder, out = folder / "data", folder / "raw"
    said = call(
        package("prepare_corpus", "--source", directory(path), "--out", data_folder),
        package("pack_audio", "--data", data_folder, "--out", out, "--num-jobs", "1", "--job", "1"),
        package("finish_packing", "--data", data_folder, "--out", out, "--num-jobs", "1"),
    )
    last = " / ".join(said.text.strip().splitlines()[-2:])[-400:]
    if said.status != 0:
        verdict = said.verdict_of_refusal([path.name])
        return what, "a good file refused" if damage == "whole" and verdict.startswith("refused") else verdict, last
    packed = {key: samples for key, (_, samples) in kaldiio.load_scp(str(out / "wav.scp")).items()}
    return what, judged(packed["s1-hostile"], wave, rate, kind, whole, path), last


def directory(path: Path) -> Path:
    """A data directory of the files beside one."""
    folder = path.parent.with_name("kaldi")
    folder.mkdir()
    files = {f"s1-{file.stem}": file for file in path.parent.iterdir()}
    for name, rows in (("wav.scp", files), ("utt2spk", dict.fromkeys(files, "s1"))):
        (folder / name).write_text("".join(f"{key} {rows[key]}\n" for key in sorted(rows)))
    return folder


def damaged(path: Path, chance: random.Random) -> tuple[str, bool]:
    """What was done, and whether all of the audio is still there."""
    content = path.read_bytes()
    what = chance.choice(["whole", "whole", "cut", "cut", "tail", "flip", "header", "zeros"])
    if what == "cut":
        length = int(len(content) * chance.uniform(0.05, 0.95))
        path.write_bytes(content[:length])
        return f"cut to {length} of {len(content)} bytes", False
    if what == "tail":
        path.write_bytes(content + bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5000))))
        return "bytes behind its end", True
    if what in ("flip", "header"):
        position = chance.randrange(min(64, len(content)) if what == "header" else len(content))
        changed = bytearray(content)
        changed[position] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        return f"a bit of byte {position} flipped", True
    if what == "zeros":
        begin = chance.randrange(len(content))
        path.write_bytes(content[:begin] + bytes(min(2000, len(content) - begin)) + content[begin + 2000 :])
        return f"zeros from byte {begin} of {len(content)}", True
    return "whole", True


def judged(packed: NDArray[np.int16], wave: NDArray[np.float64], rate: int, kind: str, whole: bool, path: Path) -> str:
    """Right: as long as what was written and alike, or as ffmpeg reads the file as it is now."""
    meant = resample_poly(wave, 16000, rate) if rate != 16000 else wave
    if len(packed) >= len(meant) - 64 and len(packed) <= len(meant) + SLACK.get(kind, 64) and alike(packed, meant):
        return RIGHT
    if not whole:
        return "a cut file taken for a whole one"
    decoded = by_ffmpeg(path)
    near = abs(len(packed) - len(decoded)) <= SLACK.get(kind, 64) and len(decoded) > 0
    return RIGHT if near and alike(packed, decoded) else WRONG


def alike(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Of one shape, whatever the gain, within the delay of a coder."""
    length = min(len(one), len(other))
    if length < 100:
        return False
    first, second = (np.asarray(side[:length], dtype=np.float64) for side in (one, other))
    spectra = np.fft.rfft(first, 2 * length) * np.conj(np.fft.rfft(second, 2 * length))
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    return bool(scale > 0 and np.fft.irfft(spectra).max() / scale > 0.9)


def by_ffmpeg(path: Path) -> NDArray[np.float32]:
    """Mono at 16 kHz, or nothing."""
    words = ["ffmpeg", "-v", "quiet", "-i", str(path), "-f", "f32le", "-ac", "1", "-ar", "16000", "-"]
    return np.frombuffer(subprocess.run(words, capture_output=True).stdout[: 4 * 10**7] or b"", dtype="<f4")
