"""A pass over all utterances in evaluation mode: what a sampler keeps of them comes from one encoder.

B utterances of a batch, R reference segments of an utterance, D width of an embedding.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from sslsv_tk.positives.base import Pass
from sslsv_tk.training.parts import Parts

_FILLING = -1  # stands for the epoch in the draws of the pass that fills queues


def show_everyone(
    parts: Parts, wanted: Pass, epoch: int, loader: Callable[[list[Any]], Any], first: int = 0
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Let the sampler observe every utterance once, from the place `first` of a random order on.

    `loader` makes batches of requests. Yields the utterances of each batch, over all processes, and their reference
    embeddings (R, B, D).
    """
    step, with_views = parts.step, wanted == "everything"
    requests = list(parts.batches.everyone(_FILLING if with_views else epoch, first, with_views))
    for batch in loader(requests):
        views, utterance_B, references = parts.inputs.prepare(batch)
        reference_RBD = step.embed_references(references)
        positives_SBP = step.project_positives(views) if with_views else None
        count = parts.batches.whole(first)
        shown = step.of_all_processes(positives_SBP, utterance_B, reference_RBD, count)
        step.sampler.observe(*shown)
        yield shown[1:]
        first += count
