"""Every sampler of the registry at a small size, with the modes that its settings allow, and a loop that runs it.

A new file in sslsv_tk/positives is among them without an edit here.
"""

import dataclasses
import io
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslsv_tk import registry
from sslsv_tk.distributed import collectives
from sslsv_tk.positives.base import PositiveSampler, SamplerFacts

UTTERANCES, BATCH, SPEAKERS = 45, 8, 5  # six steps, the last one of five utterances
WIDTH, EMBEDDING, SLOTS = 3, 6, 2
NAMES = registry.names("sslsv_tk.positives")
SMALL = {"clusters": 6, "nearest": 4, "queue_size": 14}
"""What is too large by default for so few utterances, wherever a sampler has such a setting."""
MODES: dict[str, dict[str, Any]] = {
    "filled by an epoch": {"filling": "epoch", "reference_dtype": "float16"},
    "whitened": {"reference_segments": 2, "whitening": "within_utterance"},
    "in passes": {"reference_segments": 2, "refresh": "epochs"},
}
"""Settings of the parts: each mode for every sampler that has the first of them."""
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "same_speaker, queue": ("same_speaker", {"source": "queue"}),
    "ssps_kmeans, two neighbours": ("ssps_kmeans", {"neighbours": 2, "weights": "exponential"}),
    "ssps_kmeans, all members": ("ssps_kmeans", {"candidates": "all", "neighbours": 0}),
    "ssps_kmeans, permuted": ("ssps_kmeans", {"permuted": True}),
    "ssps_kmeans, centroids": ("ssps_kmeans", {"positive": "centroid", "queue_size": None}),
    "ssps_live_knn, normalised": ("ssps_live_knn", {"cohort": 9, "kept_share": 0.6, "mutual": False}),
    "ssps_live_recordings, normalised": ("ssps_live_recordings", {"cohort": 5}),
}


def small(name: str, **settings: Any) -> dict[str, Any]:
    """Settings of a sampler: the small ones that it has, and others in their place."""
    known = {field.name for field in dataclasses.fields(kind_of(name).Config)}
    return {**{key: value for key, value in SMALL.items() if key in known}, **settings}


def kind_of(name: str) -> type[PositiveSampler]:
    return registry.find("sslsv_tk.positives", name, PositiveSampler)


def _all() -> dict[str, tuple[str, dict[str, Any]]]:
    kinds = {name: (name, small(name)) for name in NAMES}
    for name in NAMES:
        known = {field.name for field in dataclasses.fields(kind_of(name).Config)}
        for mode, settings in MODES.items():
            if next(iter(settings)) in known:
                fitting = {key: value for key, value in settings.items() if key in known}
                kinds[f"{name}, {mode}"] = (name, small(name, **fitting))
    return kinds | {kind: (name, small(name, **settings)) for kind, (name, settings) in MORE.items()}


KINDS = _all()
"""By a name for messages: the sampler's name and its settings."""


def told(kind: str, **changed: Any) -> SamplerFacts:
    """What the sampler is told of a training set in which utterance u is of the speaker u % 5, recording u % 10."""
    name, settings = KINDS[kind]
    cls, everyone = kind_of(name), np.arange(changed.get("utterances", UTTERANCES))
    knows_recordings = cls.needs_labels or cls.needs_recordings
    facts = {
        "utterances": UTTERANCES,
        "projection_dimension": EMBEDDING if settings.get("positive") == "centroid" else WIDTH,
        "embedding_dimension": EMBEDDING,
        "slots": SLOTS,
        "speakers": (everyone % SPEAKERS).astype(np.int32) if cls.needs_labels else None,
        "recordings": (everyone % (2 * SPEAKERS)).astype(np.int32) if knows_recordings else None,
    }
    return SamplerFacts(**facts | changed)


def made(kind: str, **changed: Any) -> PositiveSampler:
    """A new sampler; `changed` are other facts."""
    name, settings = KINDS[kind]
    cls = kind_of(name)
    return cls(cls.Config(**settings), told(kind, **changed))


def read_back(sampler: PositiveSampler) -> PositiveSampler:
    """A new sampler with the state of another, through a file as a checkpoint is."""
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    other = type(sampler)(sampler.config, sampler.facts)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


def references(sampler: PositiveSampler, utterance_B: Tensor, key: int) -> Tensor | None:
    """(R, B, D): others by the key; those of a speaker are near each other. None where none are wanted."""
    if not sampler.reference_segments:
        return None
    generator = torch.Generator().manual_seed(key)
    speaker_ND = torch.eye(SPEAKERS, EMBEDDING)[torch.arange(UTTERANCES) % SPEAKERS]
    noise = torch.randn(sampler.reference_segments, UTTERANCES, EMBEDDING, generator=generator)
    return normalize(speaker_ND + 0.5 * noise, dim=2)[:, utterance_B]


def references_of_step(sampler: PositiveSampler, utterance_B: Tensor, epoch: int) -> Tensor | None:
    return references(sampler, utterance_B, 10 + epoch) if sampler.reference_in_steps else None


def projections(sampler: PositiveSampler, utterance_B: Tensor, epoch: int) -> Tensor:
    """(S, B, P): row values tell epoch, slot and utterance."""
    facts = sampler.facts
    rows = 0.1 * epoch + torch.arange(facts.slots)[:, None] * 100.0 + utterance_B
    return rows[:, :, None].expand(-1, -1, facts.projection_dimension).clone()


def batches(epoch: int) -> list[Tensor]:
    """The utterances of an epoch's steps, in another order in each."""
    return list(torch.randperm(UTTERANCES, generator=torch.Generator().manual_seed(100 + epoch)).split(BATCH))


def show_everyone(sampler: PositiveSampler, epoch: int, first: int = 0, last: int | None = None) -> None:
    """The pass that a sampler asks for, or the batches `first` to `last` of it."""
    wanted = sampler.pass_before(epoch)
    if wanted == "nothing":
        return
    for utterance_B in batches(epoch + 50)[first:last]:
        rows = projections(sampler, utterance_B, epoch) if wanted == "everything" else None
        sampler.observe(rows, utterance_B, references(sampler, utterance_B, epoch))
    if last is None:
        sampler.end_pass(epoch)


def begin(sampler: PositiveSampler, epoch: int) -> dict[str, Any]:
    """What the loop does before the steps of an epoch."""
    show_everyone(sampler, epoch)
    numbers = sampler.start_epoch(epoch)
    return {"numbers": numbers, "partners": partners(sampler)}


def partners(sampler: PositiveSampler) -> list[int] | None:
    found = sampler.partners()
    return None if found is None else found.tolist()


def step(sampler: PositiveSampler, utterance_B: Tensor, epoch: int) -> dict[str, Tensor]:
    """A step of the loop: this process has its share of the batch, and all observe the whole of it."""
    reference_RBD = references_of_step(sampler, utterance_B, epoch)
    positives = projections(sampler, utterance_B, epoch)
    own = torch.arange(len(utterance_B)).tensor_split(collectives.processes())[collectives.rank()]
    own_reference = None if reference_RBD is None else reference_RBD[:, own]
    replaced, chosen = sampler.replace(positives[:, own], utterance_B[own], own_reference)
    measured = sampler.measures()
    sampler.observe(positives if sampler.keeps_projections else None, utterance_B, reference_RBD)
    cluster = sampler.cluster_of(chosen)
    cluster = chosen * 0 if cluster is None else cluster
    return {"replaced": replaced.transpose(0, 1), "chosen": chosen, "cluster": cluster, **measured}
