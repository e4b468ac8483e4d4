"""What a run is made of."""

from dataclasses import dataclass, field

from torch import Tensor

from sslsv_tk.loading.batches import EpochBatches
from sslsv_tk.loading.datasets import TrainingSegments
from sslsv_tk.monitoring.diagnostics import PositiveDiagnostics
from sslsv_tk.monitoring.validation import Validation
from sslsv_tk.training.inputs import Inputs
from sslsv_tk.training.step import TrainingStep
from sslsv_tk.training.stopping import StopRequest


@dataclass
class Parts:
    """Model, sampler and data of a run; `continued` says that it is stage 5."""

    step: TrainingStep
    batches: EpochBatches
    segments: TrainingSegments
    inputs: Inputs
    diagnostics: PositiveDiagnostics
    validation: Validation | None = None
    labels_N: Tensor | None = None  # true speakers, for methods that need them
    continued: bool = False
    stop: StopRequest = field(default_factory=StopRequest)
