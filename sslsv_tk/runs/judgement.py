"""What a sampler would choose for a trained system, and how much of it is right, before anything is trained with it."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sslsv_tk.loading.loader import loader
from sslsv_tk.training.parts import Parts
from sslsv_tk.training.passes import show_everyone

_EPOCH = 0  # of the draws


def judge(parts: Parts, workers: int) -> dict[str, float]:
    """Coverage, accuracies where there are labels, and what the sampler logs: as at the start of stage 5.

    What a sampler would be filled with along the first epoch comes from a pass here.
    """
    sampler, device = parts.step.sampler, parts.inputs.device
    wanted = sampler.pass_before(_EPOCH)
    if wanted == "nothing" and sampler.reference_segments > 0:
        wanted = "everything" if sampler.keeps_projections else "references"
    # Each batch is shown before anything is chosen, and replaced after: the references of all are known by then.
    shown: list[tuple[Tensor, Tensor | None]] = []
    if wanted != "nothing":
        pinned = device.type == "cuda"
        shown = list(show_everyone(parts, wanted, _EPOCH, lambda r: loader(parts.segments, r, workers, pinned)))
        sampler.end_pass(_EPOCH)
    numbers = sampler.start_epoch(_EPOCH)
    everyone = torch.arange(parts.batches.utterances, device=device)
    numbers.update(parts.diagnostics.clusters(sampler.cluster_of(everyone)))
    for utterance_B, reference_RBD in shown or _unseen(everyone, parts.batches.batch_size):
        _, chosen_B = sampler.replace(_no_positives(parts, len(utterance_B)), utterance_B, reference_RBD)
        parts.diagnostics.count(utterance_B, chosen_B)
    return {**parts.diagnostics.summary(), **numbers}


def _unseen(everyone: Tensor, batch_size: int) -> Iterator[tuple[Tensor, None]]:
    return ((utterance_B, None) for utterance_B in everyone.split(batch_size))


def _no_positives(parts: Parts, rows: int) -> Tensor:
    """Zeros in the place of positives, since only the choice matters here."""
    facts = parts.step.sampler.facts
    return torch.zeros(facts.slots, rows, facts.projection_dimension, device=parts.inputs.device)
