"""Small SSPS samplers, and projections that tell whose they are."""

import copy

import torch
from torch.nn.functional import normalize

from sslsv_tk.positives.base import SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans, SSPSKMeansConfig

WIDTH, EMBEDDING = 3, 4


def facts(utterances: int, seed: int = 0, slots: int = 1, projection: int = WIDTH) -> SamplerFacts:
    return SamplerFacts(utterances, seed, projection_dimension=projection, embedding_dimension=EMBEDDING, slots=slots)


def projections(utterances: torch.Tensor, slots: int = 1) -> torch.Tensor:
    """(S, B, P): row values tell utterance and slot, 100 slot + utterance."""
    rows = torch.arange(slots)[:, None] * 100.0 + utterances[None, :]
    return rows[:, :, None].expand(-1, -1, WIDTH).clone()


def references(count: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, EMBEDDING, generator=torch.Generator().manual_seed(seed)), dim=1)


def filled(utterances: int = 40, seed: int = 0, slots: int = 1, **settings) -> SSPSKMeans:
    """A sampler that observed every utterance once, in order."""
    sampler = SSPSKMeans(SSPSKMeansConfig(**settings), facts(utterances, seed, slots))
    assert sampler.needs_filling
    everyone = torch.arange(utterances)
    sampler.observe(projections(everyone, slots), everyone, references(utterances))
    assert not sampler.needs_filling
    return sampler


def restart(sampler: SSPSKMeans) -> None:
    """Let a sampler prepare its epoch again from tensors set by hand, as after reading a checkpoint."""
    sampler.load_state_dict(copy.deepcopy(sampler.state_dict()))
