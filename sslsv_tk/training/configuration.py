"""What a system is: the one configuration that a training run reads and writes beside its checkpoints."""

from dataclasses import dataclass, field
from typing import Literal

from sslsv_tk.config import Component
from sslsv_tk.data.augmentation import AugmentationConfig
from sslsv_tk.frontend.logmel import LogMelConfig


@dataclass(frozen=True)
class OptimisationConfig:
    """Optimiser and learning-rate schedule."""

    optimiser: Literal["adam"] = "adam"
    learning_rate: float = 1e-3  # at the first epoch
    decay: float = 0.95  # factor on the learning rate ...
    decay_epochs: int = 5  # ... once per so many epochs, over both stages
    weight_decay: float = 0.0
    continued_factor: float = 1.0  # extra factor on the learning rate in stage 5; the papers use none

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or not 0 < self.decay <= 1 or self.decay_epochs < 1 or self.continued_factor <= 0:
            raise ValueError(
                "optimisation: learning_rate and continued_factor must be above 0, decay in (0, 1], decay_epochs >= 1."
            )


@dataclass(frozen=True)
class TrainingConfig:
    """Length, batch, precision and bookkeeping of a run."""

    epochs: int = 100  # of stage 4
    continued_epochs: int = 20  # of stage 5, counted on from stage 4
    batch_size: int = 256  # utterances per step, over all processes
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast of the encoder and heads; losses stay fp32
    compile: bool = False  # torch.compile of the encoder, in place
    log_steps: int = 50  # steps per log line
    checkpoint_minutes: float = 10.0  # a checkpoint at least so often; one is written at each epoch's end anyway
    keep_epochs: int = 10  # newest epoch files kept; every keep_every-th is kept as well
    keep_every: int = 10
    average_epochs: int = 10  # epochs whose weights averaged.pt is the mean of
    loader_workers: int = 4  # processes that read audio; 0: the training process itself

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "log_steps", "keep_epochs", "keep_every", "average_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1; found {getattr(self, name)}.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"training.seed must be from 0 to 2^63 - 1; found {self.seed}.")
        if self.continued_epochs < 0 or self.loader_workers < 0 or self.checkpoint_minutes < 0:
            raise ValueError("training: continued_epochs, loader_workers and checkpoint_minutes must not be negative.")
        if self.average_epochs > self.keep_epochs:
            raise ValueError(
                f"training.average_epochs = {self.average_epochs} needs as many epoch files; "
                f"keep_epochs = {self.keep_epochs} is fewer."
            )


@dataclass(frozen=True)
class SystemConfig:
    """Encoder, method, positives and everything that shapes a run."""

    encoder: Component
    method: Component
    positives: Component = field(default_factory=lambda: Component("same_utterance"))
    frontend: LogMelConfig = field(default_factory=LogMelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
