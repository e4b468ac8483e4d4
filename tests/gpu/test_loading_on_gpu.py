"""On a machine with a GPU: batches from pinned slots, copied one ahead, and augmentation are those of the CPU."""

import numpy as np
import pytest
import torch

from sslsv_tk.draws.augmentation import unit_gain
from sslsv_tk.frontend.augmentation import augment
from sslsv_tk.frontend.clips import ClipPool, Clips, PooledClips, ReadClips, ResponsePool
from sslsv_tk.frontend.logmel import LogMel
from sslsv_tk.frontend.mel_augmentation import MelAugmentation, decays, noise_powers
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.loading.ahead import on_device
from sslsv_tk.loading.batches import BatchRequest
from sslsv_tk.loading.datasets import Batch, TrainingSegments, View
from sslsv_tk.loading.loader import Loader

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
DEVICES = ("cpu", "cuda")
SAMPLES = 8_000


def sound(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, samples).astype(np.int16)


NOISES = [sound(count, count) for count in (5, 9_000, 30_000)]
RESPONSES = [sound(count, count) for count in (1, 900, 5_000, 40_000)]
GAINS = np.array([unit_gain(response) for response in RESPONSES], np.float32)
ROWS = np.array([0, 1, -1, 2, 3, 3, -1, 2, 1, 0])
LENGTHS = np.where(ROWS < 0, 0, np.array([len(response) for response in RESPONSES])[ROWS])
SNR = torch.tensor([0.0, 5.0, float("inf"), 12.0, 3.0])[torch.arange(len(ROWS)) % 5]
STARTS = np.arange(len(ROWS)) * 700


def segments() -> torch.Tensor:
    return torch.from_numpy(np.stack([sound(SAMPLES, 70 + row) for row in range(len(ROWS))]))


def pooled(device: str) -> PooledClips:
    noise_rows, starts = torch.arange(len(ROWS)) % 3, torch.from_numpy(STARTS)
    pool = ResponsePool(RESPONSES, GAINS, device)
    noises = ClipPool(NOISES, device), noise_rows.to(device), starts.to(device)
    return PooledClips(*noises, pool, torch.from_numpy(ROWS).to(device))


def read(device: str) -> ReadClips:
    noise = np.stack([np.resize(np.roll(NOISES[i % 3], -s), SAMPLES) for i, s in enumerate(STARTS)])
    response, gains = np.zeros((len(ROWS), SAMPLES), np.int16), np.zeros(len(ROWS), np.float32)
    for place, row in enumerate(ROWS):
        if row >= 0:
            reach = min(SAMPLES, len(RESPONSES[row]))
            response[place, :reach], gains[place] = RESPONSES[row][:reach], GAINS[row]
    return ReadClips(*(torch.from_numpy(array).to(device) for array in (noise, response, gains)))


@pytest.mark.parametrize("source", [pooled, read])
def test_augmented_segments_are_those_of_the_processor(source) -> None:
    found = []
    for device in DEVICES:
        clips: Clips = source(device)
        found.append(augment(segments().to(device), clips, SNR.to(device), LENGTHS).cpu())
    assert (found[0] - found[1]).abs().max() < 1e-5 * found[0].abs().max()


def test_clips_of_lists_and_clips_that_were_read_give_the_same_bits() -> None:
    found = [augment(segments().cuda(), source("cuda"), SNR.cuda(), LENGTHS) for source in (pooled, read)]
    assert torch.equal(*found)


def test_augmented_frames_are_those_of_the_processor() -> None:
    found = []
    for device in DEVICES:
        logmel = LogMel(LogMelConfig()).to(device)
        made = MelAugmentation(logmel, noise_powers(NOISES, logmel), decays(RESPONSES, GAINS, logmel))
        noise = (torch.arange(len(ROWS)) % 3).to(device), torch.from_numpy(STARTS).to(device), SNR.to(device)
        frames = logmel.frames(segments().to(device).float() / 32768)
        found.append(made(frames, torch.from_numpy(ROWS).to(device), noise).cpu())
    assert (found[0] - found[1]).abs().max() < 1e-3


class Counting(TrainingSegments):
    """Batches that are full of the number of their request."""

    def __init__(self) -> None:
        super().__init__((), 0)

    def __getitem__(self, request: BatchRequest) -> Batch:
        count, number = len(request.utterance_B), int(request.utterance_B[0])
        views = [
            View(torch.full((count, 100_000), number, dtype=torch.int16), snr_B=torch.full((count,), float(number)))
        ]
        return Batch(torch.from_numpy(request.utterance_B), views)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_and_whole_while_the_gpu_is_busy(workers: int) -> None:
    """Slots are used again about ten times in each epoch; a copy from one that was refilled too early shows."""
    device, count = torch.device("cuda"), 120
    loader = Loader(Counting(), workers, pin_memory=True)
    work = torch.randn(2048, 2048, device=device)
    for _ in range(2):
        requests = [BatchRequest(0, np.full(16, number)) for number in range(count)]
        sums = []
        for number, batch in enumerate(on_device(loader.batches(requests), device)):
            assert batch.utterance_B.device.type == "cuda"
            work = torch.tanh(work @ work)
            segment_BT, snr_B = batch.views[0].segment_BT, batch.views[0].snr_B
            assert segment_BT is not None and snr_B is not None
            sums.append(((segment_BT.long() - number).abs().sum() + (snr_B - number).abs().sum()).long())
        assert len(sums) == count and int(torch.stack(sums).sum()) == 0
    loader.close()


def test_slots_are_pinned() -> None:
    loader = Loader(Counting(), 1, pin_memory=True)
    batches = loader.batches([BatchRequest(0, np.full(4, number)) for number in range(8)])
    batch = next(batches)
    assert batch.views[0].segment_BT is not None and batch.views[0].segment_BT.is_pinned()
    batches.close()  # type: ignore[attr-defined]
