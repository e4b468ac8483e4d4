"""What a positive sampler is: it says whose segment or projection serves as the positive of an utterance.

A sampler knows utterances by their row number 0..N-1 and never the method; a method never knows whether its
positives were replaced. Shapes: B batch, S positive slots, P projection, D embedding, N utterances.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.clustering.references import ReferenceClusters, ReferenceConfig


@dataclass(frozen=True)
class SamplerFacts:
    """What a sampler is told about the corpus and the method; labels reach only those that say `needs_labels`."""

    utterances: int
    """N, rows of the training set."""
    seed: int = 0
    """All draws are keyed (seed, epoch, utterance)."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where positives live; queues are kept there."""
    projection_dimension: int = 0
    """P, width of what the loss sees."""
    embedding_dimension: int = 0
    """D, width of what is clustered."""
    projections_are_embeddings: bool = True
    """Does the loss see the embeddings themselves, without a projector?"""
    slots: int = 1
    """S, positives per utterance (1: SimCLR; 2: methods with two keys or teacher views)."""
    speakers: NDArray[np.int32] | None = None
    """(N,) true speaker codes; None unless the sampler needs labels."""
    recordings: NDArray[np.int32] | None = None
    """(N,) recording codes; come with the speakers, None where they are unknown."""

    def __post_init__(self) -> None:
        if self.utterances < 1:
            raise ValueError(f"A positive sampler needs at least one utterance, found {self.utterances}.")
        for name in ("speakers", "recordings"):
            codes = getattr(self, name)
            if codes is not None and codes.shape != (self.utterances,):
                raise ValueError(f"Expected {self.utterances} codes of {name}, found an array of shape {codes.shape}.")


class PositiveSampler:
    """A source of positives; its defaults leave every utterance its own.

    The loop calls, per epoch, `start_epoch`, then per step `replace` and after it `observe`. Where `needs_filling`,
    it calls `observe` once for every utterance, in evaluation mode, before the first `start_epoch`.
    """

    Config: ClassVar[type]
    """The dataclass of settings that stands beside the sampler."""
    needs_reference: ClassVar[bool] = False
    """Does `observe` want the embedding of a reference segment?"""
    needs_labels: ClassVar[bool] = False
    """Does the sampler look at true speakers (an oracle)?"""

    def __init__(self, config: Any, facts: SamplerFacts) -> None:
        self.config = config
        self.facts = facts
        if self.needs_labels and facts.speakers is None:
            raise ValueError(
                f"The positives {self.name} need true speakers, and the training set has none. "
                "Give it an utt2spk with labels, or choose other positives (ssps_kmeans, same_utterance)."
            )

    @property
    def name(self) -> str:
        """The name that a configuration uses, which is the file's."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def needs_filling(self) -> bool:
        """Must all utterances be observed once before the next epoch starts? False again once they were."""
        return False

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Prepare the choices of an epoch (cluster, draw partners); numbers to log."""
        return {}

    def partners(self) -> NDArray[np.int64] | None:
        """(N,) utterance from whose audio the positive is cut in this epoch; None: its own."""
        return None

    def replace(self, positives_SBP: Tensor, utterance_B: Tensor) -> tuple[Tensor, Tensor]:
        """Put other utterances' projections in the place of positives.

        Returns the positives, with replaced rows as constants and the others with their gradient, and chosen_B
        (int64, on the device of `utterance_B`): whose projection each is; its own index means kept.
        """
        return positives_SBP, utterance_B

    def cluster_of(self, utterance_B: Tensor) -> Tensor | None:
        """(B,) cluster of each utterance in this epoch, -1 unknown; None where the sampler has no clusters."""
        return None

    def observe(self, positives_SBP: Tensor, utterance_B: Tensor, reference_BD: Tensor | None = None) -> None:
        """Remember the original positives of a step, and the reference embeddings (unit rows) where it needs them."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers with which a new sampler goes on identically."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; a ValueError says where it comes from another corpus or other settings."""
        unknown = sorted(state)
        if unknown:
            raise ValueError(
                f"The positives {self.name} keep no state, but the checkpoint holds {', '.join(unknown)}: it was "
                "written with other positives. Start a new system folder, or use the positives it was made with."
            )

    def _check_names(self, state: Mapping[str, Any]) -> None:
        """Does a state have the names of ours?"""
        expected = self.state_dict().keys()
        if state.keys() != expected:
            raise ValueError(
                f"Expected the state of the positives {self.name} ({', '.join(expected)}), found "
                f"{', '.join(state) or 'none'}. Resume with the positives that the run was started with."
            )


class ReferenceSampler(PositiveSampler):
    """What samplers over the clusters of reference embeddings share; a subclass prepares its draws in `_prepare`."""

    needs_reference: ClassVar[bool] = True

    def __init__(self, config: ReferenceConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self._check_method_has_positives()
        self.references = ReferenceClusters(
            config, facts.utterances, facts.embedding_dimension, facts.seed, facts.device
        )

    @property
    def needs_filling(self) -> bool:
        """Are there utterances whose reference embedding was never observed?"""
        return not self.references.are_complete

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Cluster the reference embeddings seen so far and prepare the draws of the epoch."""
        numbers = self.references.start_epoch(epoch)
        self._prepare()
        return numbers

    def _prepare(self) -> None:
        """Everything of an epoch that follows from its clusters and (seed, epoch)."""
        raise NotImplementedError

    def cluster_of(self, utterance_B: Tensor) -> Tensor:
        """(B,) cluster of each utterance in this epoch; -1 where its reference was not seen before the epoch."""
        return self.references.cluster_of(utterance_B)

    def _check_method_has_positives(self) -> None:
        facts = self.facts
        if facts.embedding_dimension < 1 or facts.projection_dimension < 1 or facts.slots < 1:
            raise ValueError(
                f"The positives {self.name} are those of other utterances, for a method that has positives; found "
                f"projection {facts.projection_dimension}, embedding {facts.embedding_dimension}, slots {facts.slots}. "
                "Choose another method, or the positives same_utterance."
            )

    def _check_started(self) -> None:
        if self.references.epoch < 0:
            raise ValueError(f"The positives {self.name} have no clusters yet: start_epoch comes before replace.")

    def _checked_reference(self, reference_BD: Tensor | None) -> Tensor:
        if reference_BD is None:
            raise ValueError(f"The positives {self.name} need the embedding of a reference segment with every batch.")
        return reference_BD
