"""On a machine with a GPU: every part gives what it gives on the CPU, to 1e-4 of the largest magnitude (no TF32)."""

import numpy as np
import pytest
import torch

from sslsv_tk.clustering.kmeans import random_rows, spherical_kmeans
from sslsv_tk.encoders.fast_resnet34 import FastResNet34, FastResNet34Config
from sslsv_tk.frontend.clips import ClipPool
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.frontend.settings import LogMelConfig
from sslsv_tk.methods.simclr import SimCLR, SimCLRConfig
from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig
from sslsv_tk.positives.ssps_knn import SSPSKNN, SSPSKNNConfig
from sslsv_tk.positives.ssps_live_knn import SSPSLiveKNN, SSPSLiveKNNConfig
from sslsv_tk.positives.ssps_live_recordings import SSPSLiveRecordings, SSPSLiveRecordingsConfig
from sslsv_tk.training.step import TrainingStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
DEVICES = ("cpu", "cuda")


@pytest.fixture(autouse=True)
def exact_products():
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = products.fp32_precision, convolutions.fp32_precision
    products.fp32_precision = convolutions.fp32_precision = "ieee"
    yield
    products.fp32_precision, convolutions.fp32_precision = before


def assert_alike(on_cpu: torch.Tensor, on_gpu: torch.Tensor, tolerance: float = 1e-4) -> None:
    difference = (on_cpu.double() - on_gpu.cpu().double()).abs().max()
    assert difference <= tolerance * on_cpu.abs().max()


def test_the_front_end_with_reverberation_and_noise() -> None:
    draw = np.random.default_rng(0)
    clips = [draw.integers(-8000, 8000, n).astype(np.int16) for n in (40_000, 9_000)]
    segment = torch.from_numpy(draw.integers(-20000, 20000, (4, 32_000)).astype(np.int16))
    found = []
    for device in DEVICES:
        pool = ClipPool(clips, device)
        rows, starts = torch.tensor([0, 1, 1, 0], device=device), torch.tensor([7, 8_000, 0, 39_000], device=device)
        noise, response = pool.cut(rows, starts, 32_000), pool.whole(rows - 1, 9_000)
        snr = torch.tensor([5.0, 10.0, float("inf"), 0.0], device=device)
        found.append(FrontEnd(LogMelConfig()).to(device)(segment.to(device), noise, snr, response))
    assert_alike(*found)


def test_the_encoder() -> None:
    torch.manual_seed(0)
    encoder = FastResNet34(FastResNet34Config()).eval()
    frames = torch.randn(4, 40, 201)
    with torch.no_grad():
        assert_alike(encoder(frames), encoder.cuda()(frames.cuda()))


def test_kmeans() -> None:
    torch.manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(50, 64), dim=1)
    points = torch.nn.functional.normalize(centres.repeat(40, 1) + 0.05 * torch.randn(2000, 64), dim=1)
    rows = random_rows(2000, 50, 0)
    found = [spherical_kmeans(points.to(device), rows, 10) for device in DEVICES]
    assert torch.equal(found[0].assignments_N, found[1].assignments_N.cpu())
    assert_alike(found[0].centroids_KD, found[1].centroids_KD)


def test_the_sampler_makes_the_same_choices() -> None:
    torch.manual_seed(0)
    references = torch.nn.functional.normalize(torch.randn(20, 16).repeat(15, 1) + 0.05 * torch.randn(300, 16), dim=1)
    projections, everyone = torch.randn(1, 300, 16), torch.arange(300)
    found = []
    for device in DEVICES:
        sampler = SSPSKMeans(
            SSPSKMeansConfig(clusters=30, neighbours=1, queue_size=200),
            SamplerFacts(300, 0, torch.device(device), 16, 16),
        )
        sampler.observe(projections.to(device), everyone.to(device), references[None].to(device))
        sampler.start_epoch(0)
        found.append(sampler.replace(projections.to(device), everyone.to(device)))
    assert torch.equal(found[0][1], found[1][1].cpu())
    assert (found[0][1] != everyone).float().mean() > 0.3
    assert_alike(found[0][0], found[1][0])


@pytest.mark.parametrize("mutual", [True, False])
def test_whitened_nearest_neighbours_are_the_same(mutual: bool) -> None:
    torch.manual_seed(0)
    centres = torch.randn(1, 20, 16).repeat(1, 15, 1) + 0.2 * torch.randn(1, 300, 16)
    references = torch.nn.functional.normalize(centres + 0.1 * torch.randn(2, 300, 16), dim=2)
    config = SSPSLiveKNNConfig(nearest=3, mutual=mutual, reference_segments=2, whitening="within_utterance")
    found = []
    for device in DEVICES:
        sampler = SSPSLiveKNN(config, SamplerFacts(300, 0, torch.device(device), 16, 16))
        sampler.observe(None, torch.arange(300, device=device), references.to(device))
        sampler.start_epoch(0)
        found.append(sampler.partners())
    assert (found[0] == found[1]).mean() > 0.98, "but for near ties"
    assert (found[0] != np.arange(300)).mean() > 0.5


def test_the_surest_recordings_are_the_same() -> None:
    torch.manual_seed(0)
    centres = torch.randn(1, 20, 16).repeat(1, 15, 1) + 0.2 * torch.randn(1, 300, 16)
    references = torch.nn.functional.normalize(centres, dim=2)
    config = SSPSLiveRecordingsConfig(nearest=2, cohort=20, kept_share=0.7)
    found = []
    for device in DEVICES:
        told = SamplerFacts(300, 0, torch.device(device), 16, 16, recordings=(np.arange(300) // 3).astype(np.int32))
        sampler = SSPSLiveRecordings(config, told)
        sampler.observe(None, torch.arange(300, device=device), references.to(device))
        sampler.start_epoch(0)
        found.append(sampler.partners())
    assert (found[0] == found[1]).mean() > 0.95, "but for near ties"
    assert (found[0] != np.arange(300)).mean() > 0.3


def test_neighbours_in_a_queue_are_the_same() -> None:
    torch.manual_seed(0)
    references = torch.nn.functional.normalize(torch.randn(1, 300, 16), dim=2)
    projections, everyone = torch.randn(1, 300, 16), torch.arange(300)
    found = []
    for device in DEVICES:
        sampler = SSPSKNN(SSPSKNNConfig(nearest=9, queue_size=200), SamplerFacts(300, 0, torch.device(device), 16, 16))
        sampler.observe(projections.to(device), everyone.to(device), references.to(device))
        sampler.start_epoch(0)
        found.append(sampler.replace(projections.to(device), everyone.to(device), references.to(device)))
    assert (found[0][1] == found[1][1].cpu()).float().mean() > 0.98, "but for near ties"


def test_a_training_step() -> None:
    gradients = []
    frames, everyone = torch.randn(2, 16, 40, 101, generator=torch.Generator().manual_seed(0)), torch.arange(16)
    for device in DEVICES:
        torch.manual_seed(0)
        method = SimCLR(FastResNet34(FastResNet34Config()), SimCLRConfig(temperature=0.5)).to(device)
        sampler = SSPSKMeans(
            SSPSKMeansConfig(clusters=4, neighbours=1, queue_size=16),
            SamplerFacts(16, 0, torch.device(device), 512, 512),
        )
        step = TrainingStep(method, sampler)
        references = torch.nn.functional.normalize(torch.eye(16, 512, device=device), dim=1)[None]
        sampler.observe(references, everyone.to(device), references)
        sampler.start_epoch(0)
        loss, _ = step(list(frames.to(device)), everyone.to(device), references)
        loss.backward()
        gradients.append((loss.detach(), torch.cat([p.grad.flatten() for p in method.parameters()])))
    assert_alike(gradients[0][0], gradients[1][0])
    assert_alike(gradients[0][1], gradients[1][1])
