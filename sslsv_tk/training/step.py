"""One training step: project, replace, observe, loss.

B utterances, A anchors, S slots, R reference segments, P and D widths.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslsv_tk.distributed.collectives import gather
from sslsv_tk.methods.base import Method, Pairs, evaluation_mode
from sslsv_tk.monitoring.step_times import StepTimes
from sslsv_tk.positives.base import PositiveSampler


class TrainingStep(nn.Module):
    """The forward pass of a step, from views to the loss; what torch's DistributedDataParallel wraps."""

    def __init__(self, method: Method, sampler: PositiveSampler, precision: str = "fp32") -> None:
        super().__init__()
        self.method = method
        self.sampler = sampler
        self.precision = precision
        self.times = StepTimes(torch.device("cpu"))
        """Whoever trains puts in its own."""

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which encoder and heads run; losses stay outside it."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def forward(
        self, views: Sequence[Tensor], utterance_B: Tensor, reference_RBD: Tensor | None, labels_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and chosen_B: the utterance whose projection served as positive (own index: kept)."""
        with self.autocast(utterance_B.device):
            anchors_ABP, positives_SBP = self.method.project(views)
        self.times.end("forward")
        replaced_SBP, chosen_B = self.sampler.replace(positives_SBP, utterance_B, reference_RBD)
        if self.sampler.observes:
            kept_SBP = positives_SBP.detach() if self.sampler.keeps_projections else None
            self.sampler.observe(*self.of_all_processes(kept_SBP, utterance_B, reference_RBD))
        clusters_2B = self._clusters(utterance_B, chosen_B)
        self.times.end("sampler")
        return self.method.loss(Pairs(anchors_ABP, replaced_SBP, labels_B, clusters_2B)), chosen_B

    @staticmethod
    def of_all_processes(
        positives_SBP: Tensor | None, utterance_B: Tensor, reference_RBD: Tensor | None, count: int | None = None
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """What a sampler observes: the first `count` (None: all) rows of all processes, in the order of the batch."""

        def rows(of_slots: Tensor | None) -> Tensor | None:
            return None if of_slots is None else gather(of_slots.transpose(0, 1))[:count].transpose(0, 1)

        return rows(positives_SBP), gather(utterance_B)[:count], rows(reference_RBD)

    def _clusters(self, utterance_B: Tensor, chosen_B: Tensor) -> Tensor | None:
        """Clusters (2, B) of the anchors' utterances and of those of the positives; None without clusters."""
        own_B, positive_B = self.sampler.cluster_of(utterance_B), self.sampler.cluster_of(chosen_B)
        return None if own_B is None or positive_B is None else torch.stack([own_B, positive_B])

    def project_positives(self, views: Sequence[Tensor]) -> Tensor:
        """The method's positives (S, B, P) in evaluation mode, without gradient."""
        with torch.no_grad(), evaluation_mode(self.method), self.autocast(views[0].device):
            return self.method.project(views)[1]

    def embed_references(self, references: Sequence[Tensor]) -> Tensor | None:
        """Reference embeddings (R, B, D), unit rows, without gradient or change of statistics; None of none."""
        if not references:
            return None
        with torch.no_grad(), self.autocast(references[0].device):
            return torch.stack([self.method.embed_reference(reference) for reference in references])


def over_processes(step: TrainingStep, device: torch.device) -> nn.Module:
    """The step with gradients averaged over the processes; itself where there is no group of them."""
    if not torch.distributed.is_initialized():
        return step
    # 1 x 1 kernels have two ways to say the same strides; nothing is copied for that but a few small tensors.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    devices = None if device.index is None else [device.index]
    return nn.parallel.DistributedDataParallel(step, device_ids=devices, broadcast_buffers=False)
