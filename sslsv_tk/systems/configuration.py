"""What a system is: the one configuration that a training run reads and writes beside its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from sslsv_tk.config import Component, to_dict
from sslsv_tk.draws.augmentation import AugmentationConfig
from sslsv_tk.frontend.settings import LogMelConfig

FREE: Mapping[str, bool] = {"may_change": True}
"""Marks a setting with which a run may go on at another value: it changes no number of the model, or lengthens it."""
INHERITED: Mapping[str, bool] = {"of_stage_4": True}
"""Marks a setting, or a whole section, that stage 5 goes on with as stage 4 had it."""


@dataclass(frozen=True)
class OptimisationConfig:
    """Optimiser and learning-rate schedule."""

    optimiser: Literal["adam", "sgd", "lars"] = field(default="adam", metadata=INHERITED)
    momentum: float = field(default=0.9, metadata=INHERITED)  # of sgd and lars
    trust: float = field(default=1e-3, metadata=INHERITED)
    # of lars: a step at learning rate 1 moves a tensor by this share of its norm
    learning_rate: float = 1e-3  # at the first epoch; cosine: after the warm-up
    schedule: Literal["stepwise", "cosine"] = "stepwise"  # stepwise: once per epoch; cosine: at every step
    decay: float = 0.95  # stepwise: factor on the learning rate ...
    decay_epochs: int = 5  # ... once per so many epochs, over both stages
    warm_up_epochs: float = 0.0  # cosine: the rate rises from 0 for so long, within training.span_epochs
    final_learning_rate: float = 1e-5  # cosine: at its end
    cosine_length: Literal["rest", "span"] = "rest"
    # rest: warm-up and cosine fill training.span_epochs together; span: the cosine alone is as long as those, begins
    # after the warm-up and is cut off where training ends, as in the SSPS authors' code for DINO
    weight_decay: float = field(default=0.0, metadata=INHERITED)
    # of matrices and kernels; biases and scales of norms get none
    gradient_clip: float | None = None  # largest norm of the gradient of each parameter tensor; null: no limit
    continued_factor: float = 1.0  # extra factor on the learning rate in stage 5; the papers use none

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or not 0 < self.decay <= 1 or self.decay_epochs < 1 or self.continued_factor <= 0:
            raise ValueError(
                "optimisation: learning_rate and continued_factor must be above 0, decay in (0, 1], decay_epochs >= 1."
            )
        if not 0 <= self.momentum < 1 or self.weight_decay < 0 or self.trust <= 0:
            raise ValueError("optimisation: momentum must be in [0, 1), weight_decay not negative, trust above 0.")
        if self.schedule == "cosine" and not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                "optimisation: final_learning_rate must be from 0 to learning_rate; found "
                f"{self.final_learning_rate} and {self.learning_rate}."
            )
        if self.warm_up_epochs < 0 or (self.warm_up_epochs and self.schedule != "cosine"):
            raise ValueError(
                "optimisation: warm_up_epochs must not be negative, and belongs to the schedule cosine; found "
                f"{self.warm_up_epochs} with {self.schedule}."
            )
        if self.cosine_length == "span" and self.schedule != "cosine":
            raise ValueError(f"optimisation.cosine_length span belongs to the schedule cosine; found {self.schedule}.")
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise ValueError(f"optimisation.gradient_clip must be above 0, or null; found {self.gradient_clip}.")


@dataclass(frozen=True)
class TrainingConfig:
    """Length, batch, precision and bookkeeping of a run."""

    epochs: int = field(default=100, metadata=FREE)  # of stage 4, which may be lengthened
    continued_epochs: int = field(default=20, metadata=FREE)  # of stage 5, counted on from stage 4
    span_epochs: int | None = None  # of schedules that have an end; null: epochs + continued_epochs
    batch_size: int = 256  # utterances per step, over all processes
    seed: int = 0
    init_from: str | None = field(default=None, metadata=FREE)
    # the checkpoint whose weights stage 4 began with, as far as they fit; a run is known by these weights, not the path
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    # bf16: autocast of encoder and heads, losses stay fp32; auto: bf16 where the device computes in it natively
    compile: Literal["auto", "true", "false"] = "auto"
    # torch.compile of the encoder; auto: where a trial before the first step says that the steps to come win by it
    recompute: bool = field(default=False, metadata=FREE)
    # keep no activations within the encoder's blocks: less memory, a third more time, the same numbers
    encoder_parts: int = 1
    # the rows of a process pass the encoder in so many parts, with the memory of one and a third more time; the loss
    # sees the whole batch, the encoder's batch norms one part
    log_steps: int = field(default=50, metadata=FREE)  # steps per log line
    checkpoint_minutes: float = field(default=10.0, metadata=FREE)
    # a checkpoint at least so often; one is written at each epoch's end anyway
    keep_epochs: int = field(default=10, metadata=FREE)  # newest epoch files kept; every keep_every-th is kept as well
    keep_every: int = field(default=10, metadata=FREE)
    validation_epochs: int = field(default=5, metadata=FREE)
    # epochs between two EERs of the validation list, where there is one
    average_epochs: int = field(default=10, metadata=FREE)  # epochs whose weights averaged.pt is the mean of
    continued_average_epochs: int | None = field(
        default=None, metadata=FREE
    )  # of stage 5 at most so many; null: as of 4
    loader_workers: int = field(default=4, metadata=FREE)  # processes that read audio; 0: the training process itself
    compare_reads: bool = field(default=False, metadata=FREE)
    # compare every block of an ark that is read with its checksum: reading takes 1.6 times as long (docs/speed.md)

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch_size",
            "encoder_parts",
            "log_steps",
            "keep_epochs",
            "keep_every",
            "average_epochs",
            "validation_epochs",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1; found {getattr(self, name)}.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"training.seed must be from 0 to 2^63 - 1; found {self.seed}.")
        if self.continued_epochs < 0 or self.loader_workers < 0 or self.checkpoint_minutes < 0:
            raise ValueError("training: continued_epochs, loader_workers and checkpoint_minutes must not be negative.")
        if self.compile == "true" and (self.recompute or self.encoder_parts > 1):
            raise ValueError(
                "training.recompute and training.encoder_parts go with training.compile false or auto; found true."
            )
        if self.span_epochs is not None and self.span_epochs < 1:
            raise ValueError(f"training.span_epochs must be at least 1, or null; found {self.span_epochs}.")
        if self.continued_average_epochs is not None and self.continued_average_epochs < 1:
            raise ValueError(
                f"training.continued_average_epochs must be at least 1, or null; found {self.continued_average_epochs}."
            )
        if self.average_epochs > self.keep_epochs:
            raise ValueError(
                f"training.average_epochs = {self.average_epochs} needs as many epoch files; "
                f"keep_epochs = {self.keep_epochs} is fewer."
            )

    @property
    def arithmetic(self) -> str:
        """In what it trains, for a person: `bf16, compiled`; what changes no number is left out."""
        words = [self.precision, *(["compiled"] if self.compile == "true" else [])]
        return ", ".join([*words, *([f"encoder in {self.encoder_parts} parts"] if self.encoder_parts > 1 else [])])

    @property
    def span(self) -> int:
        """Epochs that schedules with an end last, over both stages."""
        return self.epochs + self.continued_epochs if self.span_epochs is None else self.span_epochs

    def averaged(self, last_epoch: int) -> int:
        """Of how many epochs averaged.pt is the mean; `last_epoch` is the last of them, counted over both stages."""
        if last_epoch > self.epochs and self.continued_average_epochs is not None:
            return min(self.continued_average_epochs, self.average_epochs)
        return self.average_epochs


@dataclass(frozen=True)
class SystemConfig:
    """Encoder, method, positives and everything that shapes a run."""

    encoder: Component = field(metadata=INHERITED)
    method: Component = field(metadata=INHERITED)
    positives: Component = field(default_factory=lambda: Component("same_utterance"))
    frontend: LogMelConfig = field(default_factory=LogMelConfig, metadata=INHERITED)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    classes: int | None = None  # true speakers of the training set, for methods that need labels; found, not given

    def __post_init__(self) -> None:
        rising, span = self.optimisation.warm_up_epochs, self.training.span
        if self.optimisation.schedule == "cosine" and rising >= span:
            raise ValueError(
                f"optimisation.warm_up_epochs = {rising} leaves nothing of the {span} epochs of the schedule. "
                "Shorten it, or raise training.epochs or training.span_epochs."
            )


def marked(config: SystemConfig, mark: Mapping[str, bool]) -> dict[str, dict[str, Any]]:
    """The settings that bear a mark (`FREE`, `INHERITED`), by section, in YAML's types; a marked section is whole."""
    plain = to_dict(config)
    chosen: dict[str, dict[str, Any]] = {}
    for section in fields(config):
        settings = getattr(config, section.name)
        if mark.items() <= section.metadata.items():
            chosen[section.name] = plain[section.name]
        elif is_dataclass(settings):
            names = [setting.name for setting in fields(settings) if mark.items() <= setting.metadata.items()]
            chosen[section.name] = {name: plain[section.name][name] for name in names}
    return {section: settings for section, settings in chosen.items() if settings}
