"""Features of whole utterances and of offline copies against slow sums, whatever the jobs, kills and damage."""

import os
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_corpus import pack
from small_features import compute, feature_words, make_features, prepare_small, run, write_data

from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.arks.feature_archive import FeatureArchive
from sslsv_tk.bin import compute_features, finish_features
from sslsv_tk.blocks import BLOCK
from sslsv_tk.corpora import copies
from sslsv_tk.frontend.logmel import LogMel
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.kaldi.directories import validate
from sslsv_tk.packing import log_mel


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Features of everything; read only."""
    return make_features(tmp_path_factory.mktemp("made"))


@pytest.fixture
def root(tmp_path) -> Path:
    """Packed audio and copies, no features yet."""
    return prepare_small(tmp_path)


def waveforms(folder: Path) -> dict[str, np.ndarray]:
    """(samples,) in [-1, 1) by key."""
    pairs = kaldiio.load_scp(str(folder / "wav.scp")).items()
    return {key: waveform.astype(np.float64) / 32768 for key, (_, waveform) in pairs}


def logmel(waveform: np.ndarray) -> np.ndarray:
    """(L, 40) un-normalised frames of one waveform by itself."""
    return LogMel(LogMelConfig()).frames(torch.from_numpy(waveform.astype(np.float32))[None])[0].numpy()


def slowly_augmented(root: Path, key: str, kind: str, line: list[str]) -> np.ndarray:
    """The waveform of a copy: a full convolution, or clips repeated and added at an SNR, sample by sample."""
    clean = waveforms(root / "raw" / "train")[key]
    clips = waveforms(root / "raw" / copies.CLIPS[kind])
    if kind == "reverb":
        response = clips[line[2]]
        return np.convolve(clean, response / np.sqrt((response**2).sum()))[: len(clean)]
    noise = np.zeros(len(clean))
    for clip, start in zip(line[4::2], line[5::2], strict=True):
        if clip != "-":
            noise += [clips[clip][(int(start) + t) % len(clips[clip])] for t in range(len(clean))]
    powers = (clean**2).mean() + 1e-10, (noise**2).mean() + 1e-10
    return clean + np.sqrt(powers[0] / powers[1] * 10 ** (-float(line[3]) / 10)) * noise


def test_clean_features_are_those_of_each_waveform_by_itself(made):
    found = kaldiio.load_scp(str(made / "fbank" / "train" / "feats.scp"))
    for key, waveform in waveforms(made / "raw" / "train").items():
        assert found[key].shape == (len(waveform) // 160 + 1, 40) and found[key].dtype == np.float32
        np.testing.assert_allclose(found[key], logmel(waveform), atol=2e-5)


@pytest.mark.parametrize("kind", copies.KINDS)
def test_copies_are_what_their_table_says(made, kind):
    found = kaldiio.load_scp(str(made / "fbank" / f"train_{kind}" / "feats.scp"))
    table = (made / "data" / f"train_{kind}" / "augmentation").read_text().splitlines()
    clean = kaldiio.load_scp(str(made / "fbank" / "train" / "feats.scp"))
    assert len(found) == len(table) == 18
    for line in map(str.split, table):
        key = line[0].removesuffix(f"-{kind}")
        np.testing.assert_allclose(found[line[0]], logmel(slowly_augmented(made, key, kind, line)), atol=2e-3)
        assert np.abs(found[line[0]] - clean[key]).max() > 0.1


def test_a_cut_of_features_is_the_front_end_on_the_cut_but_for_its_ends(made):
    """A frame covers 200 samples to each side of its centre: two frames at each end see beyond the cut."""
    archive, audio = FeatureArchive(made / "fbank" / "train"), AudioArchive(made / "raw" / "train")
    start, count = 7, 41
    cut = audio.read(12, 160 * start, 160 * (count - 1)).astype(np.float64) / 32768
    found, expected = archive.read(12, start, count), logmel(cut)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[2:-2], expected[2:-2], atol=2e-5)
    assert np.abs(found[:2] - expected[:2]).max() > 0.01


def test_the_folders_are_data_directories_of_the_same_utterances(made):
    for name in ("train", "train_babble"):
        found, packed = validate(made / "fbank" / name), AudioArchive(made / "raw" / "train")
        ending = b"" if name == "train" else b"-babble"
        assert found.keys.tolist() == [key + ending for key in packed.keys.tolist()]
        lengths = dict(line.split() for line in (made / "fbank" / name / "utt2num_frames").read_text().splitlines())
        assert [int(lengths[key.decode()]) for key in found.keys] == (packed.samples // 160 + 1).tolist()
    assert "spk0-rec0-00000-babble spk0\n" in (made / "fbank" / "train_babble" / "utt2spk").read_text()


def test_16_bits_are_half_the_size_and_nearly_the_same(made, root):
    words = feature_words(root, "train", "music")
    assert compute([*words, "--compress", "cm2"]) == 0
    plain, packed = (FeatureArchive(top / "fbank" / "train_music") for top in (made, root))
    assert packed.first_kind == "CM2"
    for row in range(len(plain)):
        exact, found = (archive.read(row, 0, int(archive.frames[row])) for archive in (plain, packed))
        assert np.abs(found - exact).max() <= (exact.max() - exact.min()) / 65535 / 2 + 1e-5
    sizes = [(top / "fbank/train_music/parts/1/feats.ark").stat().st_size for top in (root, made)]
    assert 0.49 < sizes[0] / sizes[1] < 0.51


@given(st.lists(st.integers(300, 60_000), min_size=1, max_size=130).map(np.array))
def test_batches_hold_every_utterance_once_and_little_more_than_audio(samples):
    limit, log_mel._MOST_SAMPLES = log_mel._MOST_SAMPLES, 100_000
    try:
        batches = list(log_mel.batches_of_like_length(samples))
    finally:
        log_mel._MOST_SAMPLES = limit
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(samples)))
    assert all(len(batch) == 1 or len(batch) * samples[batch].max() <= 100_000 for batch in batches)
    assert (np.diff(samples[np.concatenate(batches)]) >= 0).all()


@pytest.mark.parametrize("jobs", [2, 3, 5])
def test_the_number_of_jobs_changes_no_bit(tmp_path, root, jobs):
    """286 utterances are three blocks; with five jobs two have none."""
    lengths = {f"s{n % 3}-r{n}-{n:05d}": 4_000 + 160 * (n % 4) + 7 * (n % 5) for n in range(2 * BLOCK + 30)}
    pack(root / "raw" / "long", lengths)
    write_data(root / "raw" / "long", root / "data" / "long")
    copies.prepare_copies(root / "data" / "long", root / "data", copies.CopyConfig(), ["babble"])
    assert compute(feature_words(root, "long", "babble")) == 0
    alone = dict(kaldiio.load_scp_sequential(str(root / "fbank/long_babble/feats.scp")))
    shutil.rmtree(root / "fbank")
    assert compute(feature_words(root, "long", "babble", jobs), jobs) == 0
    several = dict(kaldiio.load_scp_sequential(str(root / "fbank/long_babble/feats.scp")))
    assert list(alone) == list(several) == [f"{key}-babble" for key in sorted(lengths)]
    assert all(alone[key].tobytes() == several[key].tobytes() for key in alone)


# again, kills and damage


def times(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".stamps")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def test_a_second_run_does_nothing_also_with_another_number_of_jobs(made):
    before = times(made / "fbank")
    assert compute(feature_words(made, "train", "noise")) == 0
    assert compute(feature_words(made, "train", "noise", 3), 3) == 0
    assert times(made / "fbank") == before


@pytest.mark.parametrize("damage", ["remove", "cut", "record"])
def test_only_what_is_missing_or_broken_is_made_again(root, contents, damage):
    pack(root / "raw" / "long", {f"s-r{n}-{n:05d}": 700 + n for n in range(BLOCK + 9)})
    words = feature_words(root, "long", jobs=2)
    assert compute(words, 2) == 0
    folder = root / "fbank" / "long"
    whole, before = contents(folder), times(folder)
    ark = folder / "parts" / "2" / "feats.ark"
    if damage == "remove":
        ark.unlink()
    elif damage == "cut":
        os.truncate(ark, ark.stat().st_size - 1)
    else:
        (folder / "parts" / "2" / "made.json").unlink()
        (folder / "made.json").unlink()
    assert run(finish_features, *words) == 1
    assert compute(words, 2) == 0
    assert contents(folder) == whole
    assert times(folder)["parts/1/feats.ark"] == before["parts/1/feats.ark"]


def test_killed_at_any_rename_the_next_run_makes_the_same(root, contents, kill_at_rename, monkeypatch):
    words = feature_words(root, "train", "reverb")
    (root / "one").mkdir()
    monkeypatch.chdir(root / "one")
    words[words.index("--out") + 1] = "out"

    def work() -> None:
        assert compute(words) == 0

    work()
    whole, number = contents(Path("out")), 1
    while True:
        shutil.rmtree("out")
        if not kill_at_rename(work, number):
            break
        found = {name: text for name, text in contents(Path("out")).items() if not name.endswith(".tmp")}
        assert "made.json" not in found and all(whole[name] == text for name, text in found.items())
        work()
        assert contents(Path("out")) == whole
        number += 1
    assert number - 1 == len(whole)


def test_other_settings_or_inputs_are_stale_until_forced(root, caplog):
    words = feature_words(root, "train", "noise")
    assert compute(words) == 0
    for more, message in (
        (("--set", "frontend.bands=24"), "option frontend.bands: was 40, now 24"),
        (("--compress", "cm2"), "option compress: was none, now cm2"),
    ):
        caplog.clear()
        assert run(compute_features, *words, "--job", 1, *more) == run(finish_features, *words, *more) == 1
        assert caplog.text.count(message) == 2 and "--force true" in caplog.text
    table = root / "data" / "train_noise" / "augmentation"
    table.write_text(table.read_text().replace(" noise0 ", " noise1 "))
    caplog.clear()
    assert run(compute_features, *words, "--job", 1) == 1 and "input augmentation: was" in caplog.text
    assert run(compute_features, *words, "--job", 1, "--force", "true") == 0
    assert run(finish_features, *words) == 0


def test_the_deviation_floor_is_no_setting_of_frames(made):
    assert compute([*feature_words(made, "train"), "--set", "frontend.deviation_floor=0.1"]) == 0


def test_parts_of_an_earlier_number_of_jobs_go(root):
    assert compute(feature_words(root, "train", jobs=3), 3) == 0
    (root / "fbank" / "train" / "made.json").unlink()
    assert compute(feature_words(root, "train", jobs=2), 2) == 0
    assert sorted(path.name for path in (root / "fbank" / "train" / "parts").iterdir()) == ["1", "2"]
    assert len(kaldiio.load_scp(str(root / "fbank/train/feats.scp"))) == 18


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no audio", "no wav.scp"),
        ("no clips", "no wav.scp, so not a folder of packed audio"),
        ("no copy", "no table augmentation, so not an offline copy"),
        ("clip gone", "is not among the packed clips"),
        ("cut audio", "train/wav.ark: "),
        ("copy of fewer", "lacks 1 copies of utterances of"),
        ("too short", "has 256 samples; the front end needs more than 256"),
        ("job 3 of 2", "--job 3 of --num-jobs 2: expected 1 to 2"),
        ("no jobs", "--num-jobs 0: expected at least 1"),
        ("typo", "unknown key 'frontend.band'. Did you mean 'frontend.bands'"),
    ],
)
def test_what_cannot_be_computed_is_one_line(root, caplog, fault, message):
    copy, job, more = "noise", 1, []
    jobs = {"job 3 of 2": 2, "no jobs": 0}.get(fault, 1)
    if fault == "no audio":
        shutil.rmtree(root / "raw" / "train")
    elif fault == "no clips":
        shutil.rmtree(root / "raw" / "musan_noise")
    elif fault == "no copy":
        (root / "data" / "train_noise" / "augmentation").unlink()
    elif fault == "clip gone":
        shutil.rmtree(root / "raw" / "musan_noise")
        pack(root / "raw" / "musan_noise", {"noise0": 5_000}, "noise")
    elif fault == "cut audio":
        os.truncate(root / "raw" / "train" / "wav.ark", 100_000)
    elif fault == "copy of fewer":
        for table in ("wav.scp", "utt2spk", "utt2rec", "utt2dur", "augmentation"):
            path = root / "data" / "train_noise" / table
            path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    elif fault == "too short":
        shutil.rmtree(root / "raw" / "train")
        pack(root / "raw" / "train", {"spk0-rec0-00000": 256, "spk0-rec0-00001": 257})
        copy = None
    elif fault == "job 3 of 2":
        job = 3
    elif fault == "typo":
        more = ["--set", "frontend.band=3"]
    assert run(compute_features, *feature_words(root, "train", copy, jobs), "--job", job, *more) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1 and message in errors[0], errors
    assert not list((root / "fbank").rglob("feats.ark"))
