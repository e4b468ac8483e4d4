"""What a positive sampler is: it says whose segment or projection serves as the positive of an utterance.

A sampler knows utterances by their row number 0..N-1 and never the method; a method never knows whether its
positives were replaced. Shapes: B batch, S positive slots, P projection, R reference segments, D embedding,
N utterances.

Of several processes that train together each has a sampler, and all make the same choices. `replace`, `cluster_of` get
the rows of their process; `observe`, also in passes, gets the rows of all, gathered without gradient in the order of
the batch, the same everywhere. So queues, clusters and partners are the same on all; only reference embeddings are
shared out (`ShardNames`). `pass_before`, `end_pass` and `start_epoch` are called by all at the same time and may
communicate. Each saves its `state_dict`; what it loads is made of all of them by `states.reshard`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.clustering.reference_clusters import ClusterConfig, ReferenceClusters
from sslsv_tk.clustering.references import ReferenceConfig, References
from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.shards import ShardNames, own_state, part_of, with_part

Pass = Literal["nothing", "references", "everything"]
"""What the loop shows of every utterance, in evaluation mode, before an epoch; everything: projections too."""


@dataclass(frozen=True)
class SamplerFacts:
    """What a sampler is told about corpus and method; speakers and recordings reach those alone that need them."""

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
    """(N,) recording codes; None where they are unknown, or needed by neither `needs_labels` nor `needs_recordings`."""

    def __post_init__(self) -> None:
        if self.utterances < 1:
            raise ValueError(f"A positive sampler needs at least one utterance, found {self.utterances}.")
        for name in ("speakers", "recordings"):
            codes = getattr(self, name)
            if codes is not None and codes.shape != (self.utterances,):
                raise ValueError(f"Expected {self.utterances} codes of {name}, found an array of shape {codes.shape}.")


class PositiveSampler:
    """A source of positives; its defaults leave every utterance its own.

    The loop asks `pass_before` an epoch. Where that is not "nothing", it calls `observe` once for every utterance, in
    evaluation mode, then `end_pass`. Then it calls `start_epoch`, and per step `replace` and after it `observe`.
    """

    Config: ClassVar[type]
    """The dataclass of settings that stands beside the sampler."""
    reference_segments: int = 0
    """R, segments of which `observe` wants embeddings."""
    reference_in_steps: bool = True
    """Does it want them in every step, or in passes alone?"""
    keeps_projections: bool = True
    """Does `observe` keep projections? Else it is shown none, and other processes need not send theirs."""
    needs_labels: ClassVar[bool] = False
    """Does the sampler look at true speakers (an oracle)?"""
    needs_recordings: ClassVar[bool] = False
    """Must it know which utterances are of one recording?"""
    shard_names: ClassVar[ShardNames] = ShardNames()
    """Which entries of its state are not the same on all processes."""

    def __init__(self, config: Any, facts: SamplerFacts) -> None:
        self.config = config
        self.facts = facts
        self._measures: dict[str, Tensor] = {}
        if self.needs_labels and facts.speakers is None:
            raise ValueError(
                f"The positives {self.name} need true speakers, and the training set has none. "
                "Give it an utt2spk with labels, or choose other positives (ssps_kmeans, same_utterance)."
            )
        if self.needs_recordings and facts.recordings is None:
            raise ValueError(
                f"The positives {self.name} must know which utterances are of one recording, and the training set has "
                "no utt2rec. Give it one, or choose other positives (ssps_live_knn, ssps_kmeans)."
            )

    @property
    def name(self) -> str:
        """The name that a configuration uses, which is the file's."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def observes(self) -> bool:
        """Does it keep anything of a step?"""
        return type(self).observe is not PositiveSampler.observe

    def pass_before(self, epoch: int) -> Pass:
        """What must be observed of all utterances before an epoch starts?"""
        return "nothing"

    def end_pass(self, epoch: int) -> None:
        """All utterances were observed: `pass_before` says "nothing" for this epoch from now on."""

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Prepare the choices of an epoch (cluster, draw partners); numbers to log."""
        return {}

    def partners(self) -> NDArray[np.int64] | None:
        """(N,) utterance from whose audio the positive is cut in this epoch; None: its own."""
        return None

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Put other utterances' projections in the place of positives.

        Returns the positives, with replaced rows as constants and the others with their gradient, and chosen_B
        (int64, on the device of `utterance_B`): whose projection each is; its own index means kept.
        """
        return positives_SBP, utterance_B

    def cluster_of(self, utterance_B: Tensor) -> Tensor | None:
        """(B,) cluster of each utterance in this epoch, -1 unknown; None where the sampler has no clusters."""
        return None

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Remember the original positives of a step, and the reference embeddings (unit rows).

        Positives are None in a pass over references and where the sampler keeps none, references where it does not
        want them.
        """

    def measures(self) -> dict[str, Tensor]:
        """Detached numbers of the last `replace` for the log.

        `queue_age`: passes over the training set since the rows taken in that step entered a queue.
        """
        return self._measures

    def whole_state(self) -> dict[str, Any]:
        """Tensors and numbers with which a new sampler of this process goes on identically; a subclass says which."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What this process saves: the whole state, or, of several processes but the first, its shards alone."""
        return own_state(self.whole_state(), self.shard_names, collectives.rank())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a whole state; a ValueError says where it comes from another corpus or other settings."""
        unknown = sorted(state)
        if unknown:
            raise ValueError(
                f"The positives {self.name} keep no state, but the checkpoint holds {', '.join(unknown)}: it was "
                "written with other positives. Start a new system folder, or use the positives it was made with."
            )

    def _check_names(self, state: Mapping[str, Any]) -> None:
        """Does a state have the names of ours?"""
        expected = self.whole_state().keys()
        if state.keys() != expected:
            raise ValueError(
                f"Expected the state of the positives {self.name} ({', '.join(expected)}), found "
                f"{', '.join(state) or 'none'}. Resume with the positives that the run was started with."
            )


class ReferenceSampler(PositiveSampler):
    """What samplers that compare reference embeddings share; a subclass prepares its draws in `start_epoch`."""

    references: References
    shard_names = ShardNames(("references.embeddings_ND",), ("references.scatter_DD",))
    keeps_projections = False

    def __init__(self, config: ReferenceConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        check_method_has_positives(self.name, facts)
        self.reference_segments = config.reference_segments
        self.reference_in_steps = config.refresh == "steps"
        self.epoch = -1
        """Epoch that was started last, -1 before the first."""
        self._passed_epoch = -1

    def pass_before(self, epoch: int) -> Pass:
        """Everything before the first epoch, unless that epoch is the filling; references where they come in passes."""
        if epoch in (self._passed_epoch, self.epoch):
            return "nothing"
        if self.epoch < 0:
            if self.config.filling == "epoch":
                return "nothing"
            return "everything" if self.keeps_projections else "references"
        return "references" if self.config.refresh == "epochs" else "nothing"

    def end_pass(self, epoch: int) -> None:
        """The references are those of one encoder."""
        self._passed_epoch = epoch

    def _check_started(self) -> None:
        if self.epoch < 0:
            raise ValueError(f"The positives {self.name} have drawn nothing yet: start_epoch comes before replace.")

    def _observe_reference(self, utterance_B: Tensor, reference_RBD: Tensor | None) -> None:
        """Keep reference embeddings, which come with every batch or in passes alone."""
        if reference_RBD is None:
            if not self.reference_in_steps:
                return
            raise ValueError(f"The positives {self.name} need the embeddings of reference segments with every batch.")
        self.references.observe(utterance_B, reference_RBD)

    def whole_state(self) -> dict[str, Any]:
        """The epoch, the last pass, and the references (tensors are not copies)."""
        references = with_part("references", self.references.state_dict())
        return {"epoch": self.epoch, "passed_epoch": self._passed_epoch, **references}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same training set and settings stopped."""
        self._check_names(state)
        self.references.load_state_dict(part_of(state, "references"))
        self.epoch, self._passed_epoch = int(state["epoch"]), int(state["passed_epoch"])


class ClusterSampler(ReferenceSampler):
    """What samplers over the clusters of reference embeddings share; a subclass prepares its draws in `_prepare`."""

    references: ReferenceClusters

    def __init__(self, config: ClusterConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self.references = ReferenceClusters(
            config, facts.utterances, facts.embedding_dimension, facts.seed, facts.device
        )

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Cluster the reference embeddings seen so far and prepare the draws of the epoch."""
        numbers = self.references.cluster(epoch)
        self.references.forget_scatter()
        self.epoch = epoch
        self._prepare()
        return numbers

    def _prepare(self) -> None:
        """Everything of an epoch that follows from its clusters and (seed, epoch)."""
        raise NotImplementedError

    def cluster_of(self, utterance_B: Tensor) -> Tensor:
        """(B,) cluster of each utterance in this epoch; -1 where its reference was not seen before the epoch."""
        return self.references.cluster_of(utterance_B)


class LiveSampler(ReferenceSampler):
    """What samplers share that name partners from whose audio the loader cuts positives; a subclass draws them."""

    def __init__(self, config: ReferenceConfig, facts: SamplerFacts) -> None:
        super().__init__(config, facts)
        self._partner_N = torch.arange(facts.utterances, device=facts.device)

    def partners(self) -> NDArray[np.int64]:
        """(N,) utterance from whose audio the positive is cut; itself where none could be drawn."""
        return self._partner_N.cpu().numpy()

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The positives as they are, since the loader cut them from the partners' audio, and whose they are."""
        self._check_started()
        return positives_SBP, self._partner_N[utterance_B.to(self.facts.device)].to(utterance_B.device)

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Keep the reference embeddings for the next epoch."""
        self._observe_reference(utterance_B.to(self.facts.device), reference_RBD)


def check_method_has_positives(name: str, facts: SamplerFacts) -> None:
    """Refuse a method without positives."""
    if facts.embedding_dimension < 1 or facts.projection_dimension < 1 or facts.slots < 1:
        raise ValueError(
            f"The positives {name} are those of other utterances, for a method that has positives; found "
            f"projection {facts.projection_dimension}, embedding {facts.embedding_dimension}, slots {facts.slots}. "
            "Choose another method, or the positives same_utterance."
        )


def put_rows(positives_SBP: Tensor, rows_BSP: Tensor, is_replaced_B: Tensor) -> Tensor:
    """Positives with rows in the place of those to replace, as constants."""
    rows_SBP = rows_BSP.transpose(0, 1).to(positives_SBP.dtype)
    return torch.where(is_replaced_B[None, :, None], rows_SBP, positives_SBP)
