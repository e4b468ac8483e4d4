"""`run.sh --feats-type fbank` on data directories that have features alone: from stage 1 to the table of results."""

import json
import re
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import yaml

from sslsv_tk import config
from sslsv_tk.records import Record
from sslsv_tk.systems.configuration import SystemConfig

TINY = {
    "encoder": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "dimension": 32},
    "training": {
        "batch_size": 8,
        "epochs": 1,
        "continued_epochs": 1,
        "average_epochs": 1,
        "log_steps": 1,
        "loader_workers": 0,
    },
}
OPTIONS = ("--feats-type", "fbank", "--positives", "same_utterance", "--num-threads", "1", "--nj", "2", "--ngpu", "0")


def kaldi_directory(top: Path, name: str, speakers: int, bands: int = 40, lengths: bool = True) -> Path:
    """A directory as Kaldi's make_fbank.sh leaves it, with its default compression, and a list of all trials."""
    folder = top / "data" / name
    folder.mkdir(parents=True)
    (top / "fbank").mkdir(exist_ok=True)
    keys = [f"{name}{s}-r{r}-{u}" for s in range(speakers) for r in range(2) for u in range(2)]
    generator = np.random.default_rng(bands)
    entries = {
        key: (generator.normal(size=(230 + row, bands)) + 3 * int(key[len(name)])).astype(np.float32)
        for row, key in enumerate(keys)
    }
    scp, ark = folder / "feats.scp", top / "fbank" / f"raw_{name}.1.ark"
    kaldiio.save_ark(str(ark), entries, str(scp), compression_method=2)
    scp.write_text(scp.read_text().replace(f"{top}/", ""))
    (folder / "utt2spk").write_text("".join(f"{key} {key.partition('-')[0]}\n" for key in keys))
    if lengths:
        (folder / "utt2num_frames").write_text("".join(f"{key} {len(entries[key])}\n" for key in keys))
    same = {(a, b): a.partition("-")[0] == b.partition("-")[0] for a in keys for b in keys if a < b}
    trials = [f"{a} {b} {'target' if is_same else 'nontarget'}\n" for (a, b), is_same in same.items()]
    (folder / "trials").write_text("".join(trials))
    return folder


@pytest.fixture(scope="module")
def sets(module_recipe) -> tuple[str, ...]:
    """The options that name the two directories and a small system."""
    top = module_recipe.folder / "kaldi"
    train, test = kaldi_directory(top, "train", 6), kaldi_directory(top, "test", 3, lengths=False)
    (module_recipe.folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return ("--train-audio", str(train), "--test-audio", str(test), "--config", "tiny.yaml")


@pytest.fixture(scope="module")
def printed(module_recipe, sets) -> str:
    return module_recipe.run(*OPTIONS, *sets)


def test_features_alone_go_through_all_stages(module_recipe, printed):
    folder = module_recipe.folder
    assert "Successfully finished." in printed.splitlines()[-1]
    said = [
        line for line in printed.splitlines() if "without copies with noise, music, babble or reverberation" in line
    ]
    assert len(said) == 1 and "training uses the clean features alone" in said[0]
    assert "Stage 2" not in printed and not (folder / "dump" / "raw").exists()
    for name in ("train", "test"):
        assert not (folder / "data" / name / "wav.scp").exists()
        made = json.loads((folder / "dump" / "fbank" / name / "made.json").read_text())
        assert made["options"] == {"feats_type": "fbank", "features": "kept", "frontend.bands": 40}
        assert not list((folder / "dump" / "fbank" / name).rglob("*.ark"))
    rows = [line for line in (folder / "exp" / "RESULTS.md").read_text().splitlines() if "test: test (66)" in line]
    assert len(rows) == 2
    for system in ("simclr_fast_resnet34", "simclr_fast_resnet34_same_utterance"):
        found = config.load(SystemConfig, folder / "exp" / system / "config.yaml")
        assert (found.frontend.frames, found.augmentation.copies) == ("kept", ("clean",))


def test_embeddings_are_of_the_frames_of_the_directory(module_recipe, printed):
    """The set is separable by its means, but frames are normalised: what counts is that all are there and finite."""
    parts = (module_recipe.folder / "exp/simclr_fast_resnet34/embeddings/test/parts").glob("*/xvector.ark")
    found = {key: vector for part in parts for key, vector in kaldiio.load_ark(str(part))}
    keys = [line.split()[0] for line in (module_recipe.folder / "kaldi/data/test/utt2spk").read_text().splitlines()]
    assert sorted(found) == keys and all(np.isfinite(vector).all() for vector in found.values())


def test_a_second_run_finds_all_complete(module_recipe, sets, printed):
    said = module_recipe.run(*OPTIONS, *sets, "--stop-stage", "3")
    for stage in (1, 3):
        assert re.search(rf"[Ss]tage {stage}.*complete, skipped", said), said


def test_other_bands_stop_stage_3_with_both_numbers_and_the_remedy(module_recipe, sets, printed):
    wide = kaldi_directory(module_recipe.folder / "wide", "train", 2, bands=80)
    said = module_recipe.run(
        *OPTIONS, "--train-audio", str(wide), *sets[2:], "--datadir", "data80", "--dumpdir", "dump80", expect=1
    )
    assert "data80/train: expected features of 40 bands (frontend.bands), found 80. Give run.sh --config FILE" in said
    assert "Traceback" not in said and not (module_recipe.folder / "dump80" / "fbank" / "train").exists()


def test_a_system_of_kept_features_refuses_computed_ones(module_recipe, sets, printed):
    """As if the new test set had been audio: its folder says that stage 3 computed it."""
    folder = module_recipe.folder
    record = folder / "dump" / "fbank" / "test" / "made.json"
    before = record.read_text()
    made = Record.read(record)
    replace(made, options={name: made.options[name] for name in made.options if name != "features"}).write(record)
    try:
        said = module_recipe.run(*OPTIONS, *sets, "--stage", "6", "--stop-stage", "6", "--force", "true", expect=1)
        assert "holds frames that were computed; the system reads frames that were kept" in said
    finally:
        record.write_text(before)
