"""Training from features: the right frames of the right copies, the same draws however read, and exact resume."""

import random
import shutil
from pathlib import Path

import gated_run
import numpy as np
import pytest
import torch
from small_corpus import COUNT
from small_features import FBANK, make_features, run
from train_options import options

from sslsv_tk import config, seeds
from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.arks.feature_archive import CopiedFeatures, FeatureArchive
from sslsv_tk.artifacts import StaleArtifact
from sslsv_tk.bin import train
from sslsv_tk.draws.augmentation import AUGMENTATION_SETS, Augmentation
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.loading.batches import BatchRequest, EpochBatches
from sslsv_tk.loading.datasets import TrainingAudio, TrainingFeatures
from sslsv_tk.loading.loader import loader
from sslsv_tk.runs import training_data
from sslsv_tk.segments import Segment
from sslsv_tk.systems import assembly
from sslsv_tk.systems.configuration import SystemConfig
from sslsv_tk.training.inputs import Inputs

CPU = torch.device("cpu")
SEED, EPOCH = 3, 2
PLAN = (Segment(0.3, "anchor"), Segment(0.2, "anchor", augmented=False), Segment(0.3, "positive"))
REFERENCE = Segment(0.5, "reference", augmented=False)
COPIES = ("noise", "music", "babble", "reverb")
EVERYONE = np.arange(COUNT)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Packed audio, features of it and of its copies, and configurations; read only."""
    return make_features(tmp_path_factory.mktemp("fbank"))


@pytest.fixture(scope="module")
def copied(root) -> CopiedFeatures:
    return CopiedFeatures(FeatureArchive(root / "fbank" / "train"), COPIES)


def training_set(copied: CopiedFeatures, plan=PLAN) -> TrainingFeatures:
    return TrainingFeatures(copied, plan, SEED, LogMelConfig().count_frames, (REFERENCE, REFERENCE))


def request(rows=EVERYONE, partners=None) -> BatchRequest:
    return BatchRequest(EPOCH, np.asarray(rows), None if partners is None else np.asarray(partners))


def whole(root: Path, name: str) -> dict[str, np.ndarray]:
    archive = FeatureArchive(root / "fbank" / name)
    return {key.decode(): archive.read(row, 0, int(archive.frames[row])) for row, key in enumerate(archive.keys)}


def expected_cut(root: Path, copy: str, source: int, row: int, number: int, count: int) -> np.ndarray:
    """Frames of an utterance of a copy from the drawn place on, read whole."""
    key = AudioArchive(root / "raw" / "train").keys[source].decode()
    frames = whole(root, "train")[key] if copy == "clean" else whole(root, f"train_{copy}")[f"{key}-{copy}"]
    u = seeds.uniform(1, SEED, "segment", EPOCH, row, number)[0, 0]
    start = int(u * (max(len(frames) - count, 0) + 1))
    return np.tile(frames, (1 + count // len(frames), 1))[start : start + count]


def order_of_copies(row: int) -> list[str]:
    u = seeds.uniform(len(COPIES), SEED, "copy", EPOCH, row)[0]
    return [COPIES[place] for place in np.argsort(u)]


def test_augmented_views_come_from_different_copies_and_others_from_the_clean_set(root, copied):
    batch = training_set(copied)[request()]
    assert [view.frames_BLF.shape for view in batch.views] == [(COUNT, n, 40) for n in (31, 21, 31)]
    for row in (0, 5, 17):
        order = order_of_copies(row)
        for number, copy in enumerate((order[0], "clean", order[1])):
            found = batch.views[number].frames_BLF[row].numpy()
            np.testing.assert_array_equal(found, expected_cut(root, copy, row, row, number, len(found)))
        for number, reference in zip((-1, -2), batch.references, strict=True):
            expected = expected_cut(root, "clean", row, row, number, 51)
            np.testing.assert_array_equal(reference.frames_BLF[row].numpy(), expected)


def test_the_positive_is_cut_from_the_partner(root, copied):
    plan = (Segment(0.3, "both"), Segment(0.2, "positive"))
    batch = training_set(copied, plan)[request([4, 9], [11, 2])]
    assert len(batch.views) == 3
    for place, (row, partner) in enumerate(((4, 11), (9, 2))):
        order = order_of_copies(row)
        for number, source in enumerate((row, partner, partner)):
            found = batch.views[number].frames_BLF[place].numpy()
            np.testing.assert_array_equal(found, expected_cut(root, order[number], source, row, number, len(found)))


def test_segments_start_and_last_as_those_of_audio(root, copied):
    """Frames of 2 s are 201 either way; both draw the place by the same key."""
    audio = TrainingAudio(AudioArchive(root / "raw" / "train"), PLAN, SEED)
    inputs = Inputs(FrontEnd(LogMelConfig()), CPU, None, on_device=False)
    of_audio, _, _ = inputs.prepare(audio[request()])
    of_features, rows, references = inputs.prepare(training_set(copied)[request()])
    assert [view.shape for view in of_audio] == [view.shape for view in of_features]
    assert rows.tolist() == EVERYONE.tolist() and [r.shape for r in references] == [(COUNT, 40, 51)] * 2
    assert LogMelConfig().count_frames(Segment(2.0, "anchor").samples) == 201


def test_frames_are_normalised_after_the_cut(copied):
    batch = training_set(copied)[request()]
    views, _, references = Inputs(FrontEnd(LogMelConfig()), CPU, None, on_device=False).prepare(batch)
    for found, cut in zip([*views, *references], [*batch.views, *batch.references], strict=True):
        frames = cut.frames_BLF.numpy().transpose(0, 2, 1)
        deviation = np.sqrt(frames.var(2, keepdims=True) + 1e-5)
        np.testing.assert_allclose(found.numpy(), (frames - frames.mean(2, keepdims=True)) / deviation, atol=1e-4)


def test_without_copies_every_view_is_clean(root):
    clean = FeatureArchive(root / "fbank" / "train")
    batch = training_set(CopiedFeatures(clean, ()))[request()]
    for number, view in enumerate(batch.views):
        found = view.frames_BLF[8].numpy()
        np.testing.assert_array_equal(found, expected_cut(root, "clean", 8, 8, number, len(found)))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_and_the_company_do_not_matter(copied, workers):
    segments = training_set(copied)
    requests = list(EpochBatches(COUNT, 5, SEED).epoch(EPOCH))
    together = segments[request()]
    for wanted, batch in zip(requests, loader(segments, requests, workers, pin_memory=False), strict=True):
        pairs = zip([*batch.views, *batch.references], [*together.views, *together.references], strict=True)
        assert all(torch.equal(found.frames_BLF, every.frames_BLF[wanted.utterance_B]) for found, every in pairs)


def test_16_bit_features_train_the_same_way(root, copied, tmp_path):
    packed = make_features(tmp_path / "packed", "cm2")
    found = training_set(CopiedFeatures(FeatureArchive(packed / "fbank" / "train"), COPIES))[request()]
    for one, other in zip(found.views, training_set(copied)[request()].views, strict=True):
        torch.testing.assert_close(one.frames_BLF, other.frames_BLF, rtol=0, atol=1e-3)


# augmented as frames


@pytest.fixture
def drawn(root):
    """drawn(*settings): segments and inputs of features that are augmented anew at every step."""

    def make(*settings: str):
        overrides = [FBANK, "augmentation.frames=drawn", *settings]
        system = config.load(SystemConfig, root / "system.yaml", overrides=overrides)
        cut = training_data.Cut(system, assembly.build_method(system), (REFERENCE,), CPU)
        return training_data.make(cut, FeatureArchive(root / "fbank" / "train"), root / "raw")

    return make


def test_frames_get_the_draws_of_waveforms(root, drawn):
    """The same noise, first sample, level and response that the audio would get."""
    segments, _ = drawn("augmentation.kinds=[both,none,reverb]")
    found = segments[request()]
    system = config.load(SystemConfig, root / "system.yaml", overrides=["augmentation.kinds=[both,none,reverb]"])
    augmentation = Augmentation.load(system.augmentation, root / "raw")
    audio = TrainingAudio(AudioArchive(root / "raw" / "train"), segments.plan, segments.seed, augmentation)
    for view, other in zip(found.views, audio[request()].views, strict=True):
        for name in ("noise_row_B", "noise_start_B", "snr_B", "response_row_B"):
            assert torch.equal(getattr(view, name), getattr(other, name))
    assert all(view.snr_B is None for view in found.references)


def test_frames_are_augmented_anew_in_every_epoch_and_references_are_not(drawn):
    segments, inputs = drawn("augmentation.kinds=[both]")
    made = [inputs.prepare(segments[BatchRequest(epoch, EVERYONE)]) for epoch in (1, 1, 2)]
    assert all(torch.equal(one, other) for one, other in zip(made[0][0], made[1][0], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(made[0][0], made[2][0], strict=True))
    _, plain = drawn("augmentation.kinds=[none]")
    reference = segments[BatchRequest(1, EVERYONE)].references
    for found, view in zip(made[0][2], reference, strict=True):
        assert torch.equal(found, plain.front_end.normalised(view.frames_BLF))
    clean = plain.front_end.normalised(segments[BatchRequest(1, EVERYONE)].views[0].frames_BLF)
    assert ((made[0][0][0] - clean).abs().flatten(1).max(1).values > 0.1).all()


def test_kept_frames_are_not_augmented(root):
    overrides = [FBANK, "augmentation.frames=drawn", "frontend.frames=kept"]
    system = config.load(SystemConfig, root / "system.yaml", overrides=overrides)
    cut = training_data.Cut(system, assembly.build_method(system), (), CPU)
    with pytest.raises(ValueError, match=r"drawn needs frames that stage 3 computed, and frontend\.frames is kept"):
        training_data.make(cut, FeatureArchive(root / "fbank" / "train"), root / "raw")


def test_the_noises_of_drawn_frames_are_inputs_of_the_run(root):
    system = config.load(SystemConfig, root / "system.yaml", overrides=[FBANK, "augmentation.frames=drawn"])
    expected = [Path("d/fbank/train"), *(Path("d/raw") / name for name in AUGMENTATION_SETS)]
    assert training_data.folders(system, Path("d/fbank/train"), Path("d/fbank")) == expected
    assert training_data.folders(system, Path("d/fbank/train"), Path("d/raw")) == expected


# runs


@pytest.fixture
def words(root, tmp_path):
    """words(name, *settings, positives=..., base=...): those of `train` from features."""

    def make(name: str, *settings: str, **more) -> list[str]:
        (tmp_path / "inputs").mkdir(exist_ok=True)
        for file in root.glob("*.yaml"):
            shutil.copy(file, tmp_path / "inputs")
        found = options(tmp_path / "inputs", tmp_path / name, FBANK, *settings, **more)
        found[found.index("--train-set") + 1] = str(root / "fbank" / "train")
        return found

    return make


@pytest.mark.parametrize("positives", ["ssps_kmeans", "ssps_live_knn", "ssps_live_recordings", "same_speaker"])
def test_both_stages_killed_at_random(words, tmp_path, outcome, assert_same, positives):
    chance = random.Random(positives)
    assert gated_run.train(words("ssl")) == 0
    assert gated_run.train(words("whole", positives=positives, base=tmp_path / "ssl")) == 0
    killed = (("ssl2", {}), ("killed", {"positives": positives, "base": tmp_path / "ssl2"}))
    kills = 0
    for name, more in killed:
        for _ in range(2):
            kills += gated_run.train_until(words(name, **more), chance.randrange(4, 18), chance) is not None
        assert gated_run.train(words(name, **more)) == 0
    assert kills >= 3
    assert_same(outcome(tmp_path / "ssl2"), outcome(tmp_path / "ssl"))
    found, expected = outcome(tmp_path / "killed"), outcome(tmp_path / "whole")
    assert_same(found, expected)


def test_a_run_on_drawn_frames_that_was_killed_goes_on_to_the_same_bits(root, words, tmp_path, outcome, assert_same):
    chance = random.Random(5)

    def drawn(name: str) -> list[str]:
        found = words(name, "augmentation.frames=drawn")
        found[found.index("--augmentation") + 1] = str(root / "raw")
        return found

    assert gated_run.train(drawn("whole")) == 0
    kills = sum(gated_run.train_until(drawn("ssl"), chance.randrange(4, 12), chance) is not None for _ in "12")
    assert gated_run.train(drawn("ssl")) == 0
    assert kills
    assert_same(outcome(tmp_path / "ssl"), outcome(tmp_path / "whole"))


def test_features_and_audio_are_other_systems(root, words, tmp_path):
    train.main(words("ssl", "training.epochs=1"))
    audio = options(root, tmp_path / "ssl", "training.epochs=1")
    audio[audio.index("--train-set") + 1] = str(root / "raw" / "train")
    audio[audio.index("--augmentation") + 1] = str(root / "raw")
    with pytest.raises(StaleArtifact, match=r"frontend.feats_type: was fbank, now raw"):
        train.main(audio)
    audio[audio.index("--out") + 1] = str(tmp_path / "stage5")
    with pytest.raises(ValueError, match="has another frontend"):
        train.main([*audio, "--continue-from", str(tmp_path / "ssl")])


def test_other_copies_are_stale_and_those_unused_are_not_read(root, words, tmp_path):
    system = words("ssl", "training.epochs=1", "augmentation.copies=[noise]")
    train.main(system)
    with pytest.raises(StaleArtifact, match=r"augmentation.copies: was \['noise'\], now \['noise', 'music'\]"):
        train.main(words("ssl", "training.epochs=1", "augmentation.copies=[noise,music]"))
    found = config.load(SystemConfig, root / "system.yaml", overrides=[FBANK, "augmentation.copies=[clean,noise]"])
    assert training_data.folders(found, Path("d/train"), Path("d")) == [Path("d/train"), Path("d/train_noise")]
    off = config.load(SystemConfig, root / "system.yaml", overrides=[FBANK, "augmentation.kinds=[none]"])
    assert training_data.folders(off, Path("d/train"), Path("d")) == [Path("d/train")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["frontend.bands=24"], "has 40 bands; frontend.bands is 24"),
        (["frontend.window=hann"], "computed with frontend.window = hamming; the configuration says hann"),
        (["augmentation.copies=[noise,noise]"], "augmentation.copies needs at least one copy, each once"),
        (["augmentation.copies=[]"], "augmentation.copies needs at least one copy"),
        (["augmentation.copies=[nois]"], "Did you mean 'noise'"),
        (["frontend.feats_type=mfcc"], "frontend.feats_type is one of raw, fbank; found 'mfcc'"),
        (["frontend.feats_type=raw"], "holds features, and the system's frontend.feats_type is raw"),
    ],
)
def test_what_cannot_be_trained_is_one_line(words, caplog, settings, message):
    assert run(train, *words("x", *settings)) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1 and message in errors[0], errors


def test_a_missing_copy_is_named(root, words, tmp_path):
    (tmp_path / "fbank").mkdir()
    copied = tmp_path / "fbank" / "train"
    shutil.copytree(root / "fbank" / "train", copied)
    for path in ("made.json", "parts"):  # a folder that nobody says the making of, so that nothing else is amiss
        shutil.rmtree(copied / path) if (copied / path).is_dir() else (copied / path).unlink()
    found = words("x")
    found[found.index("--train-set") + 1] = str(tmp_path / "fbank" / "train")
    with pytest.raises(ValueError, match=r"train_noise: no feats.scp, so the copy noise is not there"):
        train.main(found)


def test_an_encoder_of_waveforms_is_refused(root):
    system = config.load(SystemConfig, root / "system.yaml", overrides=[FBANK])
    method = assembly.build_method(system)
    method.encoder.input = "waveform"
    cut = training_data.Cut(system, method, (), CPU)
    with pytest.raises(ValueError, match=r"fast_resnet34 eats waveforms, and frontend.feats_type fbank gives log-mel"):
        training_data.make(cut, FeatureArchive(root / "fbank" / "train"), root)
