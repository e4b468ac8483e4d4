"""One training step: project, replace, observe, loss. B utterances, A anchors, S slots, P and D widths."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslsv_tk.methods.base import Method
from sslsv_tk.positives.base import PositiveSampler


class TrainingStep(nn.Module):
    """The forward pass of a step, from views to the loss; what a distributed wrapper would wrap."""

    def __init__(self, method: Method, sampler: PositiveSampler, precision: str = "fp32") -> None:
        super().__init__()
        self.method = method
        self.sampler = sampler
        self.precision = precision

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which encoder and heads run; losses stay outside it."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def forward(
        self, views: Sequence[Tensor], utterance_B: Tensor, reference_BD: Tensor | None, labels_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and chosen_B: the utterance whose projection served as positive (own index: kept)."""
        with self.autocast(utterance_B.device):
            anchors_ABP, positives_SBP = self.method.project(views)
        replaced_SBP, chosen_B = self.sampler.replace(positives_SBP, utterance_B)
        self.sampler.observe(positives_SBP.detach(), utterance_B, reference_BD)
        loss = self.method.loss(anchors_ABP, replaced_SBP, labels_B, self.sampler.cluster_of(utterance_B))
        return loss, chosen_B

    def embed_reference(self, reference: Tensor) -> Tensor:
        """Reference embeddings (B, D), unit rows, without gradient or change of statistics."""
        with torch.no_grad(), self.autocast(reference.device):
            return self.method.embed_reference(reference)
