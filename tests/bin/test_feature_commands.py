"""All commands of --feats-type fbank on a corpus of tones, from sound files to an error rate."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_corpus import write_configuration
from small_features import FBANK, run

from sslsv_tk.arks.feature_archive import FeatureArchive
from sslsv_tk.bin import (
    average_checkpoints,
    compute_features,
    extract_embeddings,
    finish_extraction,
    finish_features,
    finish_packing,
    pack_audio,
    prepare_copies,
    prepare_corpus,
    prepare_noises,
    prepare_responses,
    prepare_trials,
    score_trials,
    train,
    validate_data_dir,
    write_results,
)
from sslsv_tk.corpora import copies

SPEAKERS, PITCHES_HZ = ("anna", "bert", "carl"), (150.0, 400.0, 1100.0)


def write_sound(path: Path, waveform: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, 16_000, subtype="PCM_16")


@pytest.fixture
def corpus(tmp_path, monkeypatch) -> Path:
    """speech/{train,test}, musan and rirs; the current folder is the recipe's."""
    generator = np.random.default_rng(0)
    for name in ("train", "test"):
        for speaker, pitch in zip(SPEAKERS, PITCHES_HZ, strict=True):
            for number in range(4):
                time = np.arange(9_600 + 1_600 * number) / 16_000
                tone = 0.2 * np.sign(np.sin(2 * np.pi * pitch * time)) + 0.02 * generator.normal(size=len(time))
                write_sound(tmp_path / "speech" / name / speaker / f"r{number // 2}" / f"u{number}.wav", tone)
    for category in ("noise", "music", "speech"):
        for number in range(3):
            write_sound(tmp_path / "musan" / category / f"{number}.wav", 0.1 * generator.normal(size=20_000))
    for number in range(2):
        fade = np.exp(-np.arange(2_000) / 300)
        write_sound(tmp_path / "rirs" / f"room{number}.wav", 0.2 * fade * generator.normal(size=2_000))
    (tmp_path / "recipe").mkdir()
    monkeypatch.chdir(tmp_path / "recipe")
    return tmp_path


def stage_1_and_2(corpus: Path) -> None:
    for name in ("train", "test"):
        words = ("--layout", "folder", "--source", corpus / "speech" / name, "--out", f"data/{name}")
        assert run(prepare_corpus, *words) == 0
    names = [f"{speaker}/r{number // 2}/u{number}.wav" for speaker in SPEAKERS for number in range(4)]
    pairs = [(int(a[:4] == b[:4]), a, b) for place, a in enumerate(names) for b in names[:place]]
    Path("trials").write_text("".join(f"{target} {a} {b}\n" for target, a, b in pairs))
    assert run(prepare_trials, "--source", "trials", "--data", "data/test", "--out", "data/test/trials_all") == 0
    assert run(prepare_noises, "--source", corpus / "musan", "--out", "data", "--cut-seconds", 0.5) == 0
    assert run(prepare_responses, "--source", corpus / "rirs", "--out", "data/rirs") == 0
    assert run(prepare_copies, "--data", "data/train", "--clips", "data", "--noise-db", 5, 10) == 0
    for kind in copies.KINDS:
        assert run(validate_data_dir, f"data/train_{kind}") == 0
    snr = [float(line.split()[3]) for line in Path("data/train_noise/augmentation").read_text().splitlines()]
    assert 5 <= min(snr) <= max(snr) <= 10


def stage_3(*more: object) -> None:
    for name in ("train", "test", *sorted(set(copies.CLIPS.values()))):
        words = ("--data", f"data/{name}", "--out", f"dump/raw/{name}", "--num-jobs", 2)
        for job in (1, 2):
            assert run(pack_audio, *words, "--job", job, *(more if name == "train" else ())) == 0
        assert run(finish_packing, *words) == 0
    for name, copy in (
        ("train", None),
        ("test", None),
        *((f"train_{kind}", f"data/train_{kind}") for kind in copies.KINDS),
    ):
        words = ["--config", "../system.yaml", "--audio", f"dump/raw/{name.partition('_')[0]}", "--num-jobs", 2]
        words += ["--out", f"dump/fbank/{name}", *([] if copy is None else ["--copy", copy])]
        for job in (1, 2):
            assert run(compute_features, *words, "--job", job, "--device", "cpu") == 0
        index = Path(f"dump/fbank/{name}/features.index")
        for _ in range(2):  # the second run has nothing to do but that
            assert run(finish_features, *words) == 0 and index.is_file()
            index.unlink()
        assert run(validate_data_dir, f"dump/fbank/{name}") == 0


def stages_4_to_7() -> dict:
    words = ["--config", "../system.yaml", "--train-set", "dump/fbank/train", "--augmentation", "dump/fbank"]
    words += ["--device", "cpu", "--set", FBANK, "training.epochs=2"]
    assert run(train, *words, "--out", "exp/ssl") == 0
    more = ["--continue-from", "exp/ssl", "--positives", "../ssps_live.yaml"]
    assert run(train, *words, "--out", "exp/ssl_ssps", *more) == 0
    for system in ("exp/ssl", "exp/ssl_ssps"):
        assert run(average_checkpoints, "--system", system) == 0
        words = ["--system", system, "--data", "dump/fbank/test", "--num-jobs", 1]
        assert run(extract_embeddings, *words, "--job", 1) == run(finish_extraction, *words) == 0
        words = ["--system", system, "--data", "dump/fbank/test", "--trials", "data/test/trials_all"]
        assert run(score_trials, *words) == 0
    assert run(write_results, "--exp", "exp") == 0
    return json.loads(Path("exp/ssl/scores/all.json").read_text())


def test_from_sound_files_to_an_error_rate(corpus):
    write_configuration(corpus)
    stage_1_and_2(corpus)
    stage_3()
    row = stages_4_to_7()
    assert row["number_of_trials"] == 66 and 0 <= row["eer_percent"] <= 100
    assert "ssl_ssps" in Path("exp/RESULTS.md").read_text()


def test_what_packing_left_out_is_left_out_of_every_copy(corpus):
    write_configuration(corpus)
    stage_1_and_2(corpus)
    broken = corpus / "speech" / "train" / "bert" / "r0" / "u1.wav"
    broken.write_bytes(broken.read_bytes()[:-100])
    stage_3("--tolerance", 0.5)
    for name in ("train", *(f"train_{kind}" for kind in copies.KINDS)):
        found = FeatureArchive(f"dump/fbank/{name}")
        assert len(found) == 11 and not any(key.startswith(b"bert-r0-u1") for key in found.keys.tolist())


def test_a_mistake_is_one_line_and_a_status(corpus, caplog):
    stage_1_and_2(corpus)
    assert run(prepare_copies, "--data", "data/train", "--clips", "data") == 1
    assert "noise_db: was [5.0, 10.0], now [0.0, 15.0]" in caplog.text
    assert run(prepare_copies, "--data", "data/nowhere", "--clips", "data") == 1
    assert run(prepare_copies, "--data", "data/train", "--clips", "data/nowhere", "--force", "true") == 1
    with pytest.raises(SystemExit) as ended:
        run(prepare_copies, "--data", "data/train", "--clips", "data", "--kinds", "wind")
    assert ended.value.code == 2
