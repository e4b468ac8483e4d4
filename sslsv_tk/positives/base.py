"""What a positive sampler is: it chooses whose segment or projection serves as the positive of an utterance.

A sampler knows utterances by their row number 0..N-1 and never the method; a method never knows whether its
positives were replaced. Shapes: B batch, S positive slots, P projection, R reference segments, D embedding,
N utterances. Tensors are on the device of the facts.

Of several processes that train together each has a sampler, and all make the same choices. `replace`, `cluster_of` get
the rows of their process; `observe`, also in passes, gets the rows of all, gathered without gradient in the order of
the batch, the same everywhere. So queues, clusters and partners are the same on all; only reference embeddings are
shared out. `pass_before`, `end_pass` and `start_epoch` are called by all at the same time and may communicate.

A sampler is put together from the parts of `sampling/`: it has references, clusters, drawn partners, a queue, and the
methods here serve those that it has. Every attribute that is a `Part` is saved and loaded.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslsv_tk.distributed import collectives
from sslsv_tk.distributed.shards import ShardNames, own_state
from sslsv_tk.sampling.clusters import Clusters
from sslsv_tk.sampling.facts import SamplerFacts
from sslsv_tk.sampling.filling import Filling, Pass
from sslsv_tk.sampling.part import load_state, parts_of, shard_names, state_of
from sslsv_tk.sampling.partners import Partners
from sslsv_tk.sampling.references import References

__all__ = ["Pass", "PositiveSampler", "SamplerFacts"]


class PositiveSampler:
    """A source of positives; its defaults leave every utterance its own.

    The loop asks `pass_before` an epoch. Where that is not "nothing", it calls `observe` once for every utterance, in
    evaluation mode, then `end_pass`. Then it calls `start_epoch`, and per step `replace` and after it `observe`.
    """

    Config: ClassVar[type]
    """The dataclass of settings that stands beside the sampler."""
    references: References | None = None
    """The reference embeddings that it compares: `observe` keeps them up to date."""
    clusters: Clusters | None = None
    """Their clusters in this epoch: `cluster_of` looks them up."""
    drawn: Partners | None = None
    """Partners from whose audio the loader cuts the positives: `partners` and `replace` name them."""
    keeps_projections: bool = True
    """Does `observe` keep projections? Else it is shown none, and other processes need not send theirs."""
    needs_labels: ClassVar[bool] = False
    """Does the sampler look at true speakers (an oracle)?"""
    needs_recordings: ClassVar[bool] = False
    """Must it know which utterances are of one recording?"""

    def __init__(self, config: Any, facts: SamplerFacts) -> None:
        self.config = config
        self.facts = facts
        self.filling = Filling()
        self._measures: dict[str, Tensor] = {}
        _check_tables(self)

    # -- what a sampler writes, as far as it differs -------------------------------------------------------------

    def draw(self, epoch: int) -> dict[str, float]:
        """Make the choices of an epoch that are saved (clusters, partners); numbers to log."""
        return {}

    def prepare(self, epoch: int) -> None:
        """Make what follows from the state and (seed, epoch) alone: after `draw`, and after a state was loaded."""

    def partners(self) -> NDArray[np.int64] | None:
        """(N,) utterance from whose audio the positive is cut in this epoch; None: everyone's own."""
        return None if self.drawn is None else self.drawn.numbers()

    def replace(
        self, positives_SBP: Tensor, utterance_B: Tensor, reference_RBD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Put other utterances' projections in the place of positives; those cut from partners' audio stay.

        Returns the positives, with replaced rows as constants and the others with their gradient, and chosen_B
        (int64): whose each is; its own index means kept.
        """
        if self.drawn is None:
            return positives_SBP, utterance_B
        self.filling.check_started()
        return positives_SBP, self.drawn.of(utterance_B)

    def cluster_of(self, utterance_B: Tensor) -> Tensor | None:
        """(B,) cluster of each utterance in this epoch, -1 unknown; None where the sampler has no clusters."""
        return None if self.clusters is None else self.clusters.of(utterance_B)

    def observe(self, positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None = None) -> None:
        """Remember the original positives of a step, and the reference embeddings (unit rows).

        Positives are None in a pass over references and where the sampler keeps none, references where it does not
        want them.
        """
        if self.references is not None:
            self.references.observe(utterance_B, reference_RBD)

    # -- what the training loop asks and calls besides -----------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the sampler's file, which a configuration uses."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def reference_segments(self) -> int:
        """R, segments of which `observe` wants embeddings."""
        return 0 if self.references is None else self.references.config.reference_segments

    @property
    def reference_in_steps(self) -> bool:
        """Does it want them in every step, or in passes alone?"""
        return self.references is None or self.references.config.refresh == "steps"

    @property
    def observes(self) -> bool:
        """Does it keep anything of a step?"""
        return self.references is not None or type(self).observe is not PositiveSampler.observe

    @property
    def has_clusters(self) -> bool:
        """Does `cluster_of` say anything?"""
        return self.cluster_of(self.facts.everyone[:1]) is not None

    def pass_before(self, epoch: int) -> Pass:
        """What must be observed of all utterances before an epoch starts?"""
        return self.filling.pass_before(epoch)

    def end_pass(self, epoch: int) -> None:
        """All utterances were observed: `pass_before` says "nothing" for this epoch from now on."""
        self.filling.end_pass(epoch)

    def start_epoch(self, epoch: int) -> dict[str, float]:
        """Make the choices of an epoch; numbers to log."""
        self.filling.start(epoch)
        numbers = self.draw(epoch)
        self.prepare(epoch)
        return numbers

    def measure(self, **numbers: Tensor) -> None:
        """Detached numbers of this `replace` for the log."""
        self._measures = numbers

    def measures(self) -> dict[str, Tensor]:
        """What the last `replace` measured."""
        return self._measures

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def shard_names(self) -> ShardNames:
        """Which entries of its state are not the same on all processes."""
        return shard_names(parts_of(self))

    def whole_state(self) -> dict[str, Any]:
        """Tensors and numbers with which a new sampler of this process goes on identically (tensors are not copies)."""
        return {"positives": self.name, **state_of(parts_of(self))}

    def state_dict(self) -> dict[str, Any]:
        """What this process saves: the whole state, or, of several processes but the first, its shards alone."""
        return own_state(self.whole_state(), self.shard_names, collectives.rank())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a whole state; a ValueError says where it comes from another corpus or other settings."""
        expected = self.whole_state().keys()
        if state.get("positives") != self.name or state.keys() != expected:
            raise ValueError(
                f"Expected the state of the positives {self.name} ({', '.join(expected)}), found that of "
                f"{state.get('positives', 'no positives')} ({', '.join(state) or 'nothing'}). Resume with the "
                "positives and the settings that the run was started with."
            )
        load_state(parts_of(self), state)
        if self.filling.epoch >= 0:
            self.prepare(self.filling.epoch)


def _check_tables(sampler: PositiveSampler) -> None:
    """Refuse a training set without the speakers or recordings that a sampler needs."""
    if sampler.needs_labels and sampler.facts.speakers is None:
        raise ValueError(
            f"The positives {sampler.name} need true speakers, and the training set has none. "
            "Give it an utt2spk with labels, or choose other positives (ssps_kmeans, same_utterance)."
        )
    if sampler.needs_recordings and sampler.facts.recordings is None:
        raise ValueError(
            f"The positives {sampler.name} must know which utterances are of one recording, and the training set has "
            "no utt2rec. Give it one, or choose other positives (ssps_live_knn, ssps_kmeans)."
        )
