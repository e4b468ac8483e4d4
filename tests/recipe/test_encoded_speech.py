"""Speech encoded as m4a and mp3 through stages 1, 3 and 6: lengths and embeddings stay those of the original."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from sslsv_tk import logs
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.bin import finish_packing, pack_audio, prepare_corpus, prepare_trials
from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.extraction.embeddings import Extractor
from sslsv_tk.extraction.folder import EmbeddingFolder
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.kaldi.directories import DataDirectory
from sslsv_tk.kaldi.utterance_ids import utterance_ids

LOCAL = Path(__file__).resolve().parents[2] / "egs" / "voxceleb" / "local"
sys.path.insert(0, str(LOCAL))

from mini import channel, synthesis, voice  # noqa: E402
from mini.options import CorpusOptions  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
SPEAKERS, RECORDINGS = 4, 2
LARGEST_DIFFERENCE_SECONDS = 0.05
LARGEST_DELAY_SAMPLES = 16  # 1 ms; what coders add at the beginning, unless it is cut off, is 20 ms and more
LEAST_COSINE = 0.95
CASES = [
    ("generated", "m4a", 16000, 1),
    ("generated", "m4a", 44100, 2),
    ("generated", "mp3", 16000, 2),
    ("generated", "mp3", 48000, 1),
    ("generated", "mp3", 8000, 1),
    ("generated", "m4a", 8000, 2),
    ("real", "m4a", 48000, 2),
    ("real", "mp3", 44100, 1),
]
ENCODER = FastResNet34Config(widths=(8, 16, 16, 32), blocks=(1, 1, 1, 1))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, LOCAL / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


encoded_speech, compare_sets = load("encoded_speech"), load("compare_sets")


def run(command: ModuleType, *words: object) -> int:
    return logs.run_command(command.main, [str(word) for word in words])


def write_generated(folder: Path) -> None:
    """Utterances of generated voices, each recording through a channel; their lengths are multiples of nothing."""
    options, random = CorpusOptions(), np.random.default_rng(5)
    for speaker in range(SPEAKERS):
        drawn = voice.draw_speaker(options, speaker % 2 == 0, random)
        for recording in range(RECORDINGS):
            path = folder / f"anna{speaker}" / f"day{recording}" / "hello.wav"
            path.parent.mkdir(parents=True)
            wave = synthesis.speak(drawn, 2.0 + 0.1234 * (speaker + recording), random)
            soundfile.write(path, channel.record(channel.draw_channel(options, random), wave, random), 16000)


def write_real(folder: Path, shared: Path) -> None:
    """The first utterances of as many real speakers with several recordings."""
    several = [path for path in sorted((shared / "data/speech").glob("ls-*")) if len(list(path.iterdir())) > 1]
    for speaker in several[:SPEAKERS]:
        for recording in sorted(speaker.iterdir())[:RECORDINGS]:
            path = folder / speaker.name / recording.name / "0001.flac"
            path.parent.mkdir(parents=True)
            shutil.copy(min(recording.iterdir()), path)


@pytest.fixture(scope="module")
def source(request, tmp_path_factory) -> Path:
    """A tree <speaker>/<recording>/<utterance>, and beside it the list of all its trials."""
    folder = tmp_path_factory.mktemp("speech") / "original"
    if getattr(request, "param", "generated") == "real":
        write_real(folder, request.getfixturevalue("shared"))
    else:
        write_generated(folder)
    files = sorted(path for path in folder.glob("*/*/*"))
    assert len(files) == SPEAKERS * RECORDINGS
    return folder


@pytest.fixture(scope="module")
def trials(source) -> Path:
    """All pairs of the tree's utterances, as paths below it."""
    names = [str(path.relative_to(source)) for path in sorted(source.glob("*/*/*"))]
    lines = [
        f"{int(a.split('/')[0] == b.split('/')[0])} {a} {b}\n" for row, a in enumerate(names) for b in names[row + 1 :]
    ]
    (source.parent / "all.txt").write_text("".join(lines))
    return source.parent / "all.txt"


@pytest.fixture(scope="module")
def work(source, trials) -> Path:
    """dump/original and the embeddings of the original, by an encoder that has learned nothing.

    Without training all embeddings are nearly one, so the mean of the original's is taken off by the last bias: the
    cosines that remain (-0.9 to 0.9 between utterances) say how far apart the audio is.
    """
    out = source.parent
    prepare(out, "original", source, trials)
    archive = AudioArchive(out / "dump" / "original")
    torch.manual_seed(0)
    encoder = FastResNet34(ENCODER)
    extractor = Extractor(encoder, FrontEnd(LogMelConfig(), encoder.input), torch.device("cpu"))
    mean = torch.from_numpy(extractor.block(archive, 0).mean(0))
    encoder.embedding.bias.data -= mean
    torch.save(encoder.state_dict(), out / "encoder.pt")
    extract(out, "original")
    return out


def prepare(out: Path, name: str, source: Path, trials: Path) -> None:
    """Stages 1 and 3 of a test set."""
    data, dump = out / "data" / name, out / "dump" / name
    assert run(prepare_corpus, "--source", source, "--out", data, "--labels", "auto", "--only", trials) == 0
    assert run(prepare_trials, "--source", trials, "--data", data, "--out", data / f"trials_{name}") == 0
    words = ("--data", data, "--out", dump, "--num-jobs", 1)
    assert run(pack_audio, *words, "--job", 1) == 0
    assert run(finish_packing, *words) == 0


def extract(out: Path, name: str) -> None:
    """Stage 6 of a test set."""
    archive = AudioArchive(out / "dump" / name)
    encoder = FastResNet34(ENCODER)
    encoder.load_state_dict(torch.load(out / "encoder.pt", weights_only=True))
    extractor = Extractor(encoder, FrontEnd(LogMelConfig(), encoder.input), torch.device("cpu"))
    folder = EmbeddingFolder(out / "exp" / "untrained" / "embeddings" / name, 1, {"checkpoint": "averaged"}, {})
    assert folder.write_part(1, lambda: (extractor, [0]), archive) == len(archive)
    folder.join(archive)


def encode(work: Path, name: str, *words: object) -> Path:
    """The original as another kind of file."""
    tree = work / name
    original = ("--source", work / "original", "--trials", work / "all.txt", "--out", tree)
    assert run(encoded_speech, *original, *words) == 0
    return tree


def compare(work: Path, capsys, *words: object) -> dict[str, list[str]]:
    """The table of compare_sets.py by the name of the set."""
    capsys.readouterr()
    common = ("--system", work / "exp" / "untrained", "--dump", work / "dump", "--reference", "original")
    assert run(compare_sets, *common, *words) == 0
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in capsys.readouterr().out.splitlines()]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.parametrize(("source", "kind", "rate_hz", "channels"), CASES, indirect=["source"])
def test_lengths_and_embeddings_stay(work, capsys, kind, rate_hz, channels):
    name = f"{kind}_{rate_hz}"
    tree = encode(work, name, "--kind", kind, "--rate-hz", rate_hz, "--channels", channels)
    prepare(work, name, tree, tree / "trials")
    extract(work, name)
    found = compare(work, capsys, "--sets", name, "--ids", tree / "ids.tsv")[name]
    utterances, milliseconds, mean, lowest = int(found[0]), *map(float, found[1:4])
    assert utterances == SPEAKERS * RECORDINGS
    assert milliseconds <= 1000 * LARGEST_DIFFERENCE_SECONDS
    seconds = DataDirectory.load(work / "data" / name).durations  # of stage 1, from the headers
    assert seconds is not None
    assert np.abs(seconds - AudioArchive(work / "dump" / name).samples / 16000).max() <= LARGEST_DIFFERENCE_SECONDS
    assert np.abs(delays(work, name, tree / "ids.tsv")).max() <= LARGEST_DELAY_SAMPLES
    if rate_hz >= 16000:
        assert mean >= LEAST_COSINE and lowest >= 0.9
    else:
        assert mean < LEAST_COSINE  # the upper half of the band is gone: the measure sees it


def waveforms(work: Path, name: str) -> dict[str, np.ndarray]:
    """All samples of stage 3 by the utterance id."""
    archive = AudioArchive(work / "dump" / name)
    rows = range(len(archive))
    return {archive.keys[row].decode(): archive.read(row, 0, int(archive.samples[row])) for row in rows}


def delays(work: Path, name: str, ids: Path) -> np.ndarray:
    """By how many samples each utterance comes later than in the original: where their correlation is highest."""
    found, original = waveforms(work, name), waveforms(work, "original")
    lags = []
    for line in ids.read_text().splitlines():
        old, new = (utterance_ids(np.array([path.encode()]))[0].decode() for path in line.split("\t"))
        correlation = scipy.signal.correlate(found[new].astype(float), original[old].astype(float), method="fft")
        lags.append(int(correlation.argmax()) - (len(original[old]) - 1))
    return np.array(lags)


def test_a_tree_may_hold_several_kinds(work, capsys):
    tree = encode(work, "several", "--kind", "m4a", "--rate-hz", 22050, "--channels", 2)
    other = encode(work, "other", "--kind", "wav")
    for path in sorted(other.rglob("*.wav"))[::2]:
        path.rename(next(tree.rglob("*.m4a")).parents[2] / path.relative_to(other / "test" / "wav"))
    for path in tree.rglob("*.wav"):
        path.with_suffix(".m4a").unlink()
    assert len(list(tree.rglob("*.m4a"))) == len(list(tree.rglob("*.wav"))) == SPEAKERS * RECORDINGS // 2
    prepare(work, "several", tree, tree / "trials")
    extract(work, "several")
    found = compare(work, capsys, "--sets", "several", "--ids", tree / "ids.tsv")["several"]
    assert found[0] == str(SPEAKERS * RECORDINGS) and float(found[3]) >= LEAST_COSINE


def test_wav_files_of_the_same_samples_are_the_same(work, capsys):
    tree = encode(work, "wav", "--kind", "wav")
    prepare(work, "wav", tree, tree / "trials")
    extract(work, "wav")
    found = compare(work, capsys, "--sets", "wav", "--ids", tree / "ids.tsv")["wav"]
    assert found[1:4] == ["0.0", "1.0000", "1.0000"]
    same = [sorted(waveform.tobytes() for waveform in waveforms(work, name).values()) for name in ("wav", "original")]
    assert same[0] == same[1]


def test_the_layout_is_that_of_voxceleb(work):
    tree = encode(work, "layout", "--part", "dev", "--first-speaker", 7)
    files = sorted(str(path.relative_to(tree)) for path in tree.rglob("*.m4a"))
    assert len(files) == SPEAKERS * RECORDINGS
    assert {file.split("/")[2] for file in files} == {f"id{n:05d}" for n in range(7, 7 + SPEAKERS)}
    for file in files:
        part, kind, _, video, name = file.split("/")
        assert (part, kind, len(video), name) == ("dev", "aac", 11, "00001.m4a")
    table = dict(line.split("\t") for line in (tree / "ids.tsv").read_text().splitlines())
    assert sorted(table.values()) == files
    for old, new in zip((work / "all.txt").read_text().splitlines(), trial_lines(tree), strict=True):
        label, *names = new.split()
        assert label == old[0]
        olds = [key for name in names for key, value in table.items() if value == f"dev/aac/{name[:-4]}.m4a"]
        assert f"{label} {' '.join(olds)}" == old


def trial_lines(tree: Path) -> list[str]:
    return (tree / "trials").read_text().splitlines()


def test_what_is_wrong_is_one_line(work, tmp_path, caplog):
    assert run(encoded_speech, "--source", work / "original", "--out", work) == 1
    assert "is there already" in caplog.text
    assert run(encoded_speech, "--source", work / "original" / "..", "--out", tmp_path / "out") == 1
    assert "expected <speaker>/<recording>/<utterance> below" in caplog.text
    broken = tmp_path / "tree" / "anna" / "monday" / "1.wav"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"RIFF")
    assert run(encoded_speech, "--source", tmp_path / "tree", "--out", tmp_path / "out") == 1
    assert "ffmpeg could not write" in caplog.text and not (tmp_path / "out").exists()
    system = ("--system", work / "exp" / "untrained", "--dump", work / "dump", "--reference", "original")
    assert run(compare_sets, *system, "--sets", "absent") == 1
    assert "no finished embeddings" in caplog.text
