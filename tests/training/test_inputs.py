import numpy as np
import pytest
import torch
from small_corpus import COUNT

from sslsv_tk.arks.audio_archive import AudioArchive
from sslsv_tk.draws.augmentation import Augmentation, AugmentationConfig
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.loading.datasets import TrainingAudio
from sslsv_tk.segments import Segment
from sslsv_tk.training import inputs as training_inputs
from sslsv_tk.training.inputs import Inputs, keep_on_device, pool

CPU = torch.device("cpu")
PLAN = (Segment(0.4, "anchor"), Segment(0.3, "positive", augmented=False))
REFERENCES = (Segment(0.5, "reference", False),) * 2
KINDS = ("none", "reverb", "noise", "both")


def made(folder, kinds, read_clips, output="logmel"):
    """The inputs of one batch, with the clips on the device or read with the segments."""
    augmentation = None if kinds is None else Augmentation.load(AugmentationConfig(kinds), folder)
    audio = TrainingAudio(AudioArchive(folder / "train"), PLAN, 3, augmentation, REFERENCES, read_clips)
    inputs = Inputs(FrontEnd(LogMelConfig(), output), CPU, augmentation, on_device=not read_clips)
    return inputs.prepare(audio[BatchRequest(2, np.arange(COUNT))])


@pytest.mark.parametrize("kinds", [KINDS, ("reverb",), ("noise",), ("both",)])
def test_clips_on_the_device_and_clips_read_by_the_loader_give_the_same_batch(inputs, kinds):
    on_device, read = made(inputs, kinds, False), made(inputs, kinds, True)
    for one, other in zip([*on_device[0], *on_device[2]], [*read[0], *read[2]], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert torch.equal(on_device[1], torch.arange(COUNT)) and torch.equal(read[1], on_device[1])


def test_what_is_not_augmented_is_the_plain_segment(inputs):
    plain, augmented = made(inputs, None, False, "waveform"), made(inputs, ("both",), False, "waveform")
    assert not torch.isclose(plain[0][0], augmented[0][0]).all(1).any(), "every anchor is augmented"
    torch.testing.assert_close(plain[0][1], augmented[0][1], rtol=0, atol=0)
    for one, other in zip(plain[2], augmented[2], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert [view.shape for view in plain[0]] == [(COUNT, 6400), (COUNT, 4800)]
    assert [reference.shape for reference in plain[2]] == [(COUNT, 8000)] * 2


def test_a_pass_over_references_alone_has_no_views(inputs):
    audio = TrainingAudio(AudioArchive(inputs / "train"), PLAN, 3, references=REFERENCES)
    made_by = Inputs(FrontEnd(LogMelConfig()), CPU, None, on_device=False)
    views, _, references = made_by.prepare(audio[BatchRequest(2, np.arange(COUNT), with_views=False)])
    assert views == [] and len(references) == 2
    views, _, references = made_by.prepare(audio[BatchRequest(2, np.arange(COUNT), with_references=False)])
    assert len(views) == 2 and references == []


def test_a_mixture_of_kinds_leaves_some_segments_plain(inputs):
    plain, mixed = made(inputs, None, False, "waveform")[0][0], made(inputs, KINDS, False, "waveform")[0][0]
    same = [torch.allclose(one, other, atol=1e-5) for one, other in zip(plain, mixed, strict=True)]
    assert any(same) and not all(same)


def test_the_pool_holds_every_clip(inputs):
    clips = Augmentation.load(AugmentationConfig(("both",)), inputs).noises
    lying = pool(clips, CPU)
    rows, starts = torch.arange(len(clips)), torch.arange(len(clips)) * 700
    for row, found in enumerate(lying.cut(rows, starts, 3000)):
        np.testing.assert_array_equal(found.numpy(), clips.read_looped(row, 700 * row, 3000))
    assert pool(None, CPU) is None


def test_auto_asks_for_a_small_share_of_the_free_memory(inputs, monkeypatch):
    def decide(choice, free):
        monkeypatch.setattr(training_inputs, "free_memory", lambda device: free)
        return keep_on_device(Augmentation.load(AugmentationConfig(("both",), on_device=choice), inputs), CPU)

    folders = [inputs / name for name in ("musan_noise", "musan_music", "musan_speech", "rirs")]
    size = 2 * sum(int(AudioArchive(folder).samples.sum()) for folder in folders)
    assert decide("auto", int(size / 0.15) + 10) and not decide("auto", int(size / 0.15) - 10)
    assert decide("true", 0) and not decide("false", 10**12)
