"""A trained system as what extraction needs: its encoder, its front end, and the record of what made embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sslsv_tk import digests, layout
from sslsv_tk.arks import feature_archive, identity
from sslsv_tk.extraction.folder import EmbeddingFolder
from sslsv_tk.systems import checkpoints
from sslsv_tk.systems.on_disk import System

if TYPE_CHECKING:
    from sslsv_tk.extraction.embeddings import Extractor


@dataclass(frozen=True)
class ExtractionOptions:
    """Which checkpoint of which system over which packed audio or features, in how many jobs."""

    system: Path
    checkpoint: str
    data: Path
    jobs: int
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the encoder; auto: as the system was trained, so that all jobs agree wherever they run."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--num-jobs {self.jobs}: expected at least 1.")

    @property
    def decided_precision(self) -> Literal["fp32", "bf16"]:
        """Never auto."""
        trained: str = System(self.system).config().training.precision
        return "bf16" if "bf16" in (self.precision, trained if self.precision == "auto" else "") else "fp32"


def embedding_folder(options: ExtractionOptions) -> EmbeddingFolder:
    """Where the embeddings lie; those of another checkpoint than the averaged one stand beside, under its name."""
    system = System(options.system)
    path = system.checkpoints.path_of(options.checkpoint)
    feature_archive.refuse_other_kind(system.config().frontend.feats_type, options.data)
    return EmbeddingFolder(
        layout.embeddings_folder(options.system, options.data, options.checkpoint),
        options.jobs,
        {"checkpoint": options.checkpoint, "precision": options.decided_precision},
        {
            "checkpoint": digests.of_file(path),
            "configuration": digests.of_value(system.record.options),
            "data": identity.contents(options.data),
        },
    )


def load_extractor(options: ExtractionOptions, device: str) -> tuple[Extractor, list[int]]:
    """The system's scoring encoder behind its front end, and the epochs that its weights are the mean of.

    Torch, seconds to load, is loaded here and not where a command only looks whether its work is done.
    """
    from sslsv_tk.distributed import devices
    from sslsv_tk.extraction.embeddings import Extractor
    from sslsv_tk.frontend.features import FrontEnd
    from sslsv_tk.runs import training_data
    from sslsv_tk.systems import assembly

    config, method, path = assembly.load_system(options.system, options.checkpoint)
    training_data.open_checked(config.frontend, options.data)  # refuses features of other settings
    state = checkpoints.read(path)
    encoder = method.scoring_encoder()
    front_end = FrontEnd(config.frontend, encoder.input)
    extractor = Extractor(encoder, front_end, devices.choose(device), options.decided_precision)
    return extractor, state.get("epochs", [state.get("epoch")])
