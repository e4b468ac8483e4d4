"""Small SSPS samplers, and projections that tell whose they are."""

import copy

import torch
from torch.nn.functional import normalize

from sslsv_tk.positives.base import PositiveSampler, SamplerFacts
from sslsv_tk.positives.ssps_kmeans import SSPSKMeans

WIDTH, EMBEDDING = 3, 4


def facts(utterances: int, seed: int = 0, slots: int = 1, projection: int = WIDTH) -> SamplerFacts:
    return SamplerFacts(utterances, seed, projection_dimension=projection, embedding_dimension=EMBEDDING, slots=slots)


def projections(utterances: torch.Tensor, slots: int = 1) -> torch.Tensor:
    """(S, B, P): row values tell utterance and slot, 100 slot + utterance."""
    rows = torch.arange(slots)[:, None] * 100.0 + utterances[None, :]
    return rows[:, :, None].expand(-1, -1, WIDTH).clone()


def references(count: int, seed: int = 0, segments: int = 1) -> torch.Tensor:
    """(R, B, D): unit rows; the segments of an utterance differ a little."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(1, count, EMBEDDING, generator=generator)
    return normalize(means + (segments > 1) * 0.3 * torch.randn(segments, *means.shape[1:], generator=generator), dim=2)


def filled(
    utterances: int = 40, seed: int = 0, slots: int = 1, kind: type[PositiveSampler] = SSPSKMeans, **settings
) -> PositiveSampler:
    """A sampler that was shown what it asks for of every utterance, in order."""
    sampler = kind(kind.Config(**settings), facts(utterances, seed, slots))
    wanted, everyone = sampler.pass_before(0), torch.arange(utterances)
    assert wanted != "nothing"
    rows = projections(everyone, slots) if wanted == "everything" else None
    sampler.observe(rows, everyone, references(utterances, segments=sampler.reference_segments))
    sampler.end_pass(0)
    assert sampler.pass_before(0) == "nothing"
    return sampler


def restart(sampler: PositiveSampler) -> None:
    """Let a sampler prepare its epoch again from tensors set by hand, as after reading a checkpoint."""
    sampler.load_state_dict(copy.deepcopy(sampler.state_dict()))
