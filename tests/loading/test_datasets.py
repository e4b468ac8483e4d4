"""Batches of segments: the right bytes, whoever else is in the batch and however many workers read them."""

import dataclasses
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk import seeds
from sslsv_tk.arks.audio_archive import AudioArchive, write_pcm_ark
from sslsv_tk.draws.augmentation import Augmentation, AugmentationConfig
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.kaldi import tables
from sslsv_tk.loading.batches import BatchRequest, EpochBatches
from sslsv_tk.loading.datasets import Batch, TrainingAudio, View
from sslsv_tk.loading.loader import loader
from sslsv_tk.segments import Segment
from sslsv_tk.training.inputs import Inputs

SEED, EPOCH, UTTERANCES = 5, 2, 12
PLAN = (Segment(0.05, "anchor"), Segment(0.05, "positive"))  # 800 samples
REFERENCE = Segment(0.1, "reference", augmented=False)  # 1,600 samples


def pack(folder: Path, lengths: list[int], category: str | None = None) -> AudioArchive:
    folder.mkdir(parents=True)
    keys = [f"{folder.name}-{i:03d}" for i in range(len(lengths))]
    waveforms = [np.random.default_rng(i + n).integers(-9000, 9000, n, dtype=np.int16) for i, n in enumerate(lengths)]
    pairs = zip(keys, waveforms, strict=True)
    write_pcm_ark(pairs, folder / "wav.ark", folder / "wav.scp", folder / "utt2samples")
    if category is not None:
        tables.write_table(folder / "utt2category", keys, [category] * len(keys))
    return AudioArchive(folder)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training utterances of 300 (shorter than a segment) to 3,600 samples, noises and responses."""
    folder = tmp_path_factory.mktemp("dump")
    pack(folder / "train", [300 * (i + 1) for i in range(UTTERANCES)])
    for number, category in enumerate(("noise", "music", "speech")):
        pack(folder / f"musan_{category}", [500 + number, 4000], category)
    pack(folder / "rirs", [90, 300, 2000])
    return folder


@pytest.fixture(scope="module")
def archive(dump: Path) -> AudioArchive:
    return AudioArchive(dump / "train")


@pytest.fixture(scope="module")
def augmentation(dump: Path) -> Augmentation:
    return Augmentation.load(AugmentationConfig(("none", "reverb", "noise", "both")), dump)


def request(*rows: int, partners: tuple[int, ...] | None = None) -> BatchRequest:
    return BatchRequest(EPOCH, np.array(rows), None if partners is None else np.array(partners))


def tensors(batch: Batch) -> list[tuple[str, Tensor]]:
    views = {f"view {i}": view for i, view in enumerate(batch.views)}
    views.update({f"reference {i}": view for i, view in enumerate(batch.references)})
    fields = [
        (f"{name} {f.name}", getattr(view, f.name)) for name, view in views.items() for f in dataclasses.fields(View)
    ]
    return [
        ("utterance", batch.utterance_B),
        *((name, torch.as_tensor(value)) for name, value in fields if value is not None),
    ]


def same(one: Batch, other: Batch, rows: list[int] | None = None) -> bool:
    """Are the batches equal (or `one` and those rows of `other`) in every number?"""
    first, second = tensors(one), tensors(other)
    assert [name for name, _ in first] == [name for name, _ in second]
    return all(torch.equal(a, b if rows is None else b[rows]) for (_, a), (_, b) in zip(first, second, strict=True))


def offset(row: int, view: int, spare: int) -> int:
    """The first sample of a segment, as documented: uniform over the places where it fits."""
    return int(seeds.uniform(1, SEED, "segment", EPOCH, row, view)[0, 0] * (spare + 1))


def whole(archive: AudioArchive, row: int) -> NDArray[np.int16]:
    return archive.read(row, 0, int(archive.samples[row]))


def test_a_segment_is_the_bytes_of_the_utterance_at_the_drawn_place(archive: AudioArchive) -> None:
    batch = TrainingAudio(archive, PLAN, SEED, references=(REFERENCE, REFERENCE))[request(11, 3, 7)]
    assert batch.utterance_B.tolist() == [11, 3, 7]
    assert len(batch.views) == len(batch.references) == 2
    assert not torch.equal(batch.references[0].segment_BT, batch.references[1].segment_BT)
    for place, segments in enumerate([*batch.views, *batch.references]):
        view, samples = ((0, 800), (1, 800), (-1, 1600), (-2, 1600))[place]
        assert segments.segment_BT.dtype == torch.int16 and segments.segment_BT.shape == (3, samples)
        for row, found in zip((11, 3, 7), segments.segment_BT.numpy(), strict=True):
            waveform = whole(archive, row)
            start = offset(row, view, max(len(waveform) - samples, 0))
            expected = np.tile(waveform, 1 + samples // len(waveform))[start : start + samples]
            assert (found == expected).all()


def test_a_request_may_leave_out_views_or_references(archive: AudioArchive, augmentation: Augmentation) -> None:
    audio = TrainingAudio(archive, PLAN, SEED, augmentation, (REFERENCE, REFERENCE), read_clips=True)
    whole = audio[request(11, 3)]
    without_views = audio[dataclasses.replace(request(11, 3), with_views=False)]
    without_references = audio[dataclasses.replace(request(11, 3), with_references=False)]
    assert same(without_views, Batch(whole.utterance_B, [], whole.references))
    assert same(without_references, Batch(whole.utterance_B, whole.views))


def test_a_short_utterance_is_repeated(archive: AudioArchive) -> None:
    found = TrainingAudio(archive, PLAN, SEED)[request(0)].views[0].segment_BT[0].numpy()
    assert (found == np.concatenate([whole(archive, 0)] * 3)[:800]).all()


def test_every_place_of_an_utterance_is_drawn(archive: AudioArchive) -> None:
    audio = TrainingAudio(archive, (Segment(890 / 16_000, "anchor"),), SEED)  # utterance 2 has 900 samples
    starts = set()
    for epoch in range(100):
        found = audio[BatchRequest(epoch, np.array([2]))].views[0].segment_BT[0].numpy()
        starts.add(next(s for s in range(11) if (whole(archive, 2)[s : s + 890] == found).all()))
    assert starts == set(range(11))


@pytest.mark.parametrize("read_clips", [False, True])
def test_an_utterance_is_treated_alike_in_every_batch(
    archive: AudioArchive, augmentation: Augmentation, read_clips: bool
) -> None:
    audio = TrainingAudio(archive, PLAN, SEED, augmentation, (REFERENCE,), read_clips)
    together = audio[request(*range(UTTERANCES))]
    for rows in ([4], [11, 0, 4], list(range(UTTERANCES))[::-1]):
        assert same(audio[request(*rows)], together, rows)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_does_not_matter(archive: AudioArchive, augmentation: Augmentation, workers: int) -> None:
    audio = TrainingAudio(archive, PLAN, SEED, augmentation, (REFERENCE,), read_clips=True)
    requests = list(EpochBatches(UTTERANCES, 5, SEED).epoch(EPOCH))
    alone = [audio[each] for each in requests]
    assert len(alone) == 2
    assert all(same(a, b) for a, b in zip(alone, loader(audio, requests, workers, pin_memory=False), strict=True))


def test_an_epoch_entered_later_gives_the_batches_that_were_left(
    archive: AudioArchive, augmentation: Augmentation
) -> None:
    audio, batches = TrainingAudio(archive, PLAN, SEED, augmentation), EpochBatches(UTTERANCES, 3, SEED)
    every = list(loader(audio, list(batches.epoch(EPOCH)), 0, False))
    later = list(loader(audio, list(batches.epoch(EPOCH, first_step=2)), 0, False))
    assert len(later) == 2 and all(same(a, b) for a, b in zip(every[2:], later, strict=True))


def test_views_and_epochs_differ(archive: AudioArchive, augmentation: Augmentation) -> None:
    audio = TrainingAudio(archive, PLAN, SEED, augmentation)
    first = audio[request(11)]
    later = audio[BatchRequest(EPOCH + 1, np.array([11]))]
    segments = [view.segment_BT for batch in (first, later) for view in batch.views]
    assert len({tuple(segment[0].tolist()) for segment in segments}) == 4


# partners


def test_the_positive_is_cut_from_the_partner(archive: AudioArchive) -> None:
    audio = TrainingAudio(archive, PLAN, SEED, references=(REFERENCE,))
    batch, plain = audio[request(11, 10, partners=(5, 6))], audio[request(11, 10)]
    assert torch.equal(batch.views[0].segment_BT, plain.views[0].segment_BT)
    assert torch.equal(batch.references[0].segment_BT, plain.references[0].segment_BT)
    for row, partner, found in zip((11, 10), (5, 6), batch.views[1].segment_BT.numpy(), strict=True):
        waveform = whole(archive, partner)
        start = offset(row, 1, len(waveform) - 800)
        assert (found == waveform[start : start + 800]).all()


def test_a_segment_for_both_sides_is_cut_once_without_partners_and_twice_with(archive: AudioArchive) -> None:
    plan = (Segment(0.05, "both"), Segment(0.025, "anchor"), Segment(0.05, "both"))
    audio = TrainingAudio(archive, plan, SEED)
    plain, paired = audio[request(11)], audio[request(11, partners=(9,))]
    assert [view.segment_BT.shape[1] for view in plain.views] == [800, 400, 800]
    assert [view.segment_BT.shape[1] for view in paired.views] == [800, 400, 800, 800, 800]
    assert all(torch.equal(a.segment_BT, b.segment_BT) for a, b in zip(plain.views, paired.views[:3], strict=True))
    partner = whole(archive, 9)
    for number in (3, 4):
        start = offset(11, number, len(partner) - 800)
        assert (paired.views[number].segment_BT[0].numpy() == partner[start : start + 800]).all()


# augmentation


def test_what_is_not_augmented_carries_no_draws(archive: AudioArchive, augmentation: Augmentation) -> None:
    plan = (Segment(0.05, "anchor", augmented=False), Segment(0.05, "positive"))
    batch = TrainingAudio(archive, plan, SEED, augmentation, (REFERENCE,), read_clips=True)[request(1, 2)]
    for view in (batch.views[0], *batch.references):
        assert [name for name, value in vars(view).items() if value is not None] == ["segment_BT"]
    assert [name for name, value in vars(batch.views[1]).items() if value is None] == ["frames_BLF"]


@pytest.mark.parametrize("output", ["logmel", "waveform"])
def test_clips_read_by_the_loader_or_lying_on_the_device_give_the_same_input(
    archive: AudioArchive, augmentation: Augmentation, output: str
) -> None:
    device = torch.device("cpu")
    found = []
    for on_device in (False, True):
        audio = TrainingAudio(archive, PLAN, SEED, augmentation, (REFERENCE,), read_clips=not on_device)
        inputs = Inputs(FrontEnd(LogMelConfig(), output), device, augmentation, on_device)
        found.append(inputs.prepare(audio[request(*range(UTTERANCES))]))
    (views, rows, references), (other_views, other_rows, other_references) = found
    assert len(references) == 1 and torch.equal(references[0], other_references[0])
    assert torch.equal(rows, other_rows)
    assert len(views) == 2 and all(torch.equal(a, b) for a, b in zip(views, other_views, strict=True))
    clean = FrontEnd(LogMelConfig(), output)(audio[request(*range(UTTERANCES))].views[0].segment_BT)
    changed = (views[0] - clean).abs().flatten(1).max(1).values > 1e-3
    draws = augmentation.draw(SEED, EPOCH, np.arange(UTTERANCES), 0)
    touched = torch.from_numpy((draws.response >= 0) | np.isfinite(draws.snr))
    assert torch.equal(changed, touched) and touched.any() and not touched.all()


# memory


def test_memory_stays_flat_over_an_epoch(archive: AudioArchive, augmentation: Augmentation) -> None:
    audio = TrainingAudio(archive, PLAN, SEED, augmentation, (REFERENCE,), read_clips=True)
    everyone = np.arange(UTTERANCES)
    for epoch in range(3):  # opens files, fills caches
        audio[BatchRequest(epoch, everyone)]
    tracemalloc.start()
    try:
        audio[BatchRequest(3, everyone)]
        before = tracemalloc.get_traced_memory()[0]
        for epoch in range(4, 104):
            audio[BatchRequest(epoch, everyone)]
        growth = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    one_batch = UTTERANCES * (2 * 800 + 1600) * 2
    assert growth < one_batch / 2


def test_only_the_needed_bytes_are_read(archive: AudioArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = TrainingAudio(archive, PLAN, SEED)
    everyone = np.arange(UTTERANCES)
    audio[BatchRequest(0, everyone)]  # the first read of an utterance compares the ark with the tables
    taken: list[int] = []
    stretch, into = AudioArchive.stretch, os.preadv
    monkeypatch.setattr(
        AudioArchive,
        "stretch",
        lambda self, row, begin, count: (taken.append(count), stretch(self, row, begin, count))[1],
    )
    monkeypatch.setattr(
        os,
        "preadv",
        lambda file, rows, begin: (taken.append(sum(row.nbytes for row in rows)), into(file, rows, begin))[1],
    )
    audio[BatchRequest(1, everyone)]
    assert sum(taken) == 2 * sum(2 * min(800, int(samples)) for samples in archive.samples)


def test_a_pinned_or_moved_batch_is_the_same(archive: AudioArchive, augmentation: Augmentation) -> None:
    batch = TrainingAudio(archive, PLAN, SEED, augmentation, (REFERENCE,))[request(3, 4)]
    assert same(batch.to(torch.device("cpu")), batch)
    assert len(TrainingAudio(archive, PLAN, SEED)) == UTTERANCES
