"""A trained system as what extraction needs: its encoder, its front end, and the record of what made embeddings."""

from dataclasses import dataclass
from pathlib import Path

import torch

from sslsv_tk import artifacts
from sslsv_tk.encoders.base import Encoder
from sslsv_tk.extraction.embeddings import EmbeddingFolder, Extractor
from sslsv_tk.frontend.features import FrontEnd
from sslsv_tk.training import assembly, checkpoints

AVERAGED = "averaged"


@dataclass(frozen=True)
class ExtractionOptions:
    """Which checkpoint of which system over which packed audio, in how many jobs."""

    system: Path
    checkpoint: str
    data: Path
    jobs: int

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--num-jobs {self.jobs}: expected at least 1.")


def embedding_folder(options: ExtractionOptions) -> EmbeddingFolder:
    """Where the embeddings lie; those of another checkpoint than the averaged one stand beside, under its name."""
    path = checkpoints.CheckpointFolder(options.system).path_of(options.checkpoint)
    state = checkpoints.read(path)
    name = options.data.name if options.checkpoint == AVERAGED else f"{options.data.name}_{options.checkpoint}"
    epochs = state.get("epochs", [state.get("epoch")])
    return EmbeddingFolder(
        options.system / "embeddings" / name,
        options.jobs,
        {"checkpoint": options.checkpoint, "epochs": epochs, "num_jobs": options.jobs},
        {
            f"checkpoint {path.name}": artifacts.fingerprint(path),
            f"wav.scp of {options.data}": artifacts.fingerprint(options.data / "wav.scp"),
        },
    )


def make_extractor(options: ExtractionOptions, device: torch.device) -> Extractor:
    """The system's scoring encoder behind its front end."""
    config, method, _ = assembly.load_system(options.system, options.checkpoint)
    encoder: Encoder = method.scoring_encoder()
    return Extractor(encoder, FrontEnd(config.frontend, encoder.input), device)
